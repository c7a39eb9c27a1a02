package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestPodsOfAWebhookThatIsGone kills every manager between workloads and their pods. Nothing waits for them, and once they
// are back each workload says which pods run the tag.
func TestPodsOfAWebhookThatIsGone(t *testing.T) {
	t.Parallel()
	p := product{lab.Own(t, "node-1")}
	n := p.pinning(t, "away")
	digest := n.Versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	image := n.Image("app:latest")
	job := podTemplate("cronjob", image)
	job.Spec.RestartPolicy = corev1.RestartPolicyNever
	n.create(t, "cronjob", "cronjob", job)
	for _, kind := range []string{"deployment", "statefulset"} {
		n.create(t, kind, kind, podTemplate(kind, image))
		n.waitPods(t, kind, 1, n.digested("app", digest))
	}

	p.KillManagers(t)
	start := time.Now()
	n.kubectl(t, "create", "job", "job", "--from=cronjob/cronjob")
	n.kubectl(t, "scale", "--replicas=3", "deployment/deployment", "statefulset/statefulset")
	before := map[string][]string{"cronjob": n.settledPods(t, "cronjob", map[string]int{image: 1})}
	for _, kind := range []string{"deployment", "statefulset"} {
		before[kind] = n.settledPods(t, kind, map[string]int{image: 2, n.digested("app", digest): 1})
	}
	t.Logf("all pods run after %s", time.Since(start).Round(time.Millisecond))
	n.AdmitNew(t, lab.Deployment("meanwhile", image, 0)).WantPins(t, nil)
	resume := n.hangingWebhook(t)
	n.kubectl(t, "scale", "--replicas=4", "deployment/deployment")
	before["deployment"] = n.settledPods(t, "deployment", map[string]int{image: 3, n.digested("app", digest): 1})
	resume()

	p.ScaleManagers(t, 2)
	for kind, pods := range before {
		object, _ := n.stored(t, kind, kind)
		event := n.waitEvent(t, object, "PodNotPinned")
		for _, word := range []string{"app", image, digest} {
			if !strings.Contains(event.Message, word) {
				t.Errorf("the event says %q, want %q in it", event.Message, word)
			}
		}
		if events := n.events(t, object.GetUID(), "PodNotPinned"); len(events) != 1 {
			t.Errorf("%s has %d events, want one", kind, len(events))
		}
		if diff := cmp.Diff(pods, lab.PodIdentities(n.pods(t, kind))); diff != "" {
			t.Errorf("pods were touched (-before +after):\n%s", diff)
		}
	}
	n.wantProblems(t, "PodNotPinned", 3)
	if output := n.kubectl(t, "describe", "deployment/deployment"); !strings.Contains(output, "PodNotPinned") {
		t.Errorf("kubectl describe does not show the event:\n%s", output)
	}
	if events := n.eventsNamed(t, "meanwhile"); len(events) > 0 {
		t.Errorf("a Deployment that was never pinned has the events %v", events)
	}
	// What the event says to do helps.
	for _, pod := range n.pods(t, "deployment") {
		if pod.Spec.Containers[0].Image == image {
			n.kubectl(t, "delete", "pod", pod.Name)
		}
	}
	n.waitPods(t, "deployment", 4, n.digested("app", digest))
}

// TestADigestThatIsGoneIsTold at the Deployment whose pods wait for it. A restart pins what there is now.
func TestADigestThatIsGoneIsTold(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "gone", "latest")}
	digests := n.Versions(t, "app", 2)
	image := n.Image("app:latest")
	n.point(t, "app", "latest", "v1")
	n.Deploy(t, n.Name, lab.Deployment("app", image, 0))
	n.wantPins(t, "deployment", "app", appPin(image, digests[0]))
	n.point(t, "app", "latest", "v2")
	n.deleteManifest(t, n.digested("app", digests[0]))
	before := n.problems(t, "PinnedDigestGone")

	start := time.Now()
	n.kubectl(t, "scale", "--replicas=2", "deployment/app")
	d, err := n.Client().AppsV1().Deployments(n.Name).Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	event := n.waitEvent(t, d, "PinnedDigestGone")
	t.Logf("told after %s", time.Since(start).Round(time.Second))
	for _, word := range []string{"container app", n.digested("app", digests[0]), image, "restart"} {
		if !strings.Contains(event.Message, word) {
			t.Errorf("the event says %q, want %q in it", event.Message, word)
		}
	}
	n.wantProblems(t, "PinnedDigestGone", before+1)
	if events := n.events(t, d.UID, "PinnedDigestGone"); len(events) != 1 {
		t.Errorf("there are %d events, want one", len(events))
	}
	n.admitRestart(t, "app").WantPins(t, appPin(image, digests[1]))
	n.waitPods(t, "app", 2, n.digested("app", digests[1]))
}

// TestATagThatIsNotPinnedIsTold at its workload, once that is stored. What is tried out, rejected or made up is not.
func TestATagThatIsNotPinnedIsTold(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "untold", "latest")}
	own := n.at(lab.NewRegistry(t, n.Cluster, registry.Options{}))
	own.Registry.SetFault("*", registry.Refuse(404))
	image := own.Image("app:latest")
	before := n.problems(t, "TagNotPinned")

	deployments := n.Client().AppsV1().Deployments(n.Name)
	if _, err := deployments.Create(t.Context(), lab.Deployment("dry", image, 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	invalid := lab.Deployment("invalid", image, 0)
	invalid.Spec.Selector.MatchLabels = map[string]string{"app": "another"}
	if _, err := deployments.Create(t.Context(), invalid, metav1.CreateOptions{}); err == nil {
		t.Error("a Deployment was admitted that does not select its pods")
	}
	path, err := n.RewritePath(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lab.ForgeTo(t, n.Product, path, lab.DeploymentReview(t, admissionv1.Create, n.Name, lab.Deployment("forged", image, 0)))
	n.noDeployments(t, image)
	if _, err := deployments.Create(t.Context(), lab.Deployment("beyond", image, 0), metav1.CreateOptions{}); err == nil {
		t.Error("a Deployment was admitted beyond the quota")
	}
	var workloads []metav1.Object
	for _, kind := range []string{"deployment", "statefulset", "daemonset", "job", "cronjob"} {
		if kind == "deployment" {
			n.deploymentsAgain(t, kind, image)
		} else {
			template := podTemplate(kind, image)
			if kind == "job" || kind == "cronjob" {
				untilStarted(&template)
			}
			n.create(t, kind, kind, template)
		}
		object, _ := n.stored(t, kind, kind)
		workloads = append(workloads, object)
	}
	bare := lab.PodOn("", "bare", image)
	bare.Namespace = n.Name
	lab.StartPod(t, n.Cluster, bare)
	stored, err := n.Client().CoreV1().Pods(n.Name).Get(t.Context(), "bare", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}

	for _, object := range append(workloads, stored) {
		event := n.waitEvent(t, object, "TagNotPinned")
		for _, word := range []string{"container app", image, "answers 404 Not Found"} {
			if !strings.Contains(event.Message, word) {
				t.Errorf("the event says %q, want %q in it", event.Message, word)
			}
		}
		if events := n.events(t, object.GetUID(), "TagNotPinned"); len(events) != 1 {
			t.Errorf("%s has %d events, want one", object.GetName(), len(events))
		}
	}
	n.wantProblems(t, "TagNotPinned", before+6)
	// By now the others would have been told of, too: they came before.
	for _, rejected := range []string{"dry", "invalid", "forged", "beyond"} {
		if events := n.eventsNamed(t, rejected); len(events) > 0 {
			t.Errorf("%s has the events %v", rejected, events)
		}
	}
}

// pinning makes a namespace of a product that is not the shared one.
func (p product) pinning(t *testing.T, name string) pinning {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kube-prepull.io/rewrite": "latest"}}}
	if _, err := p.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return pinning{&lab.Pinning{Product: p.Product, Name: name}}
}

// pointEndpoints does for API servers before Kubernetes 1.33, which look for Services in Endpoints, what a slice does for others.
// With no pods that come or go, nobody else writes them.
func (n pinning) pointEndpoints(t *testing.T, portName string, port int32) {
	t.Helper()
	patch := fmt.Sprintf(`{"subsets":[{"addresses":[{"ip":%q}],"ports":[{"name":%q,"port":%d}]}]}`, n.HostIP(), portName, port)
	_, err := n.Client().CoreV1().Endpoints(lab.System).Patch(t.Context(), "kube-prepull", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// hangingWebhook puts a server in the place of the managers that takes connections and never says a word. It returns when
// the API server asks that one, and the function that it returns ends it.
func (n pinning) hangingWebhook(t *testing.T) (end func()) {
	t.Helper()
	listener, err := net.Listen("tcp", n.HostIP()+":0")
	if err != nil {
		t.Fatal(err)
	}
	service, err := n.Client().CoreV1().Services(lab.System).Get(t.Context(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	port := int32(listener.Addr().(*net.TCPAddr).Port)
	slices := n.Client().DiscoveryV1().EndpointSlices(lab.System)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "hanging", Labels: map[string]string{discoveryv1.LabelServiceName: "kube-prepull", discoveryv1.LabelManagedBy: "test"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{n.HostIP()}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &service.Spec.Ports[0].Name, Port: &port}},
	}
	if _, err := slices.Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.pointEndpoints(t, service.Spec.Ports[0].Name, port)
	asked := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			if _, err := listener.Accept(); err != nil {
				return
			}
			if first {
				close(asked)
			}
		}
	}()
	end = func() {
		if err := slices.Delete(context.Background(), slice.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
		listener.Close() //nolint:errcheck // nobody listens any more
	}
	t.Cleanup(end)
	lab.Eventually(t, "the API server to ask the webhook that hangs", func() error {
		n.tryPod(t, lab.PodOn("", "probe", n.Image("app:latest")))
		select {
		case <-asked:
			return nil
		default:
			return errors.New("it does not")
		}
	})
	return end
}

// settledPods waits until all pods of a Deployment run, so many with each image, and returns who they are.
func (n pinning) settledPods(t *testing.T, name string, want map[string]int) []string {
	t.Helper()
	var identities []string
	lab.Eventually(t, "the pods of "+name+" to run", func() error {
		got, pods := map[string]int{}, n.pods(t, name)
		for _, pod := range pods {
			if lab.PodRunning(&pod) {
				got[pod.Spec.Containers[0].Image]++
			}
		}
		identities = lab.PodIdentities(pods)
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	return identities
}

// events are those about an object, for a reason.
func (n pinning) events(t *testing.T, of any, reason string) []corev1.Event {
	t.Helper()
	list, err := n.Client().CoreV1().Events(n.Name).List(t.Context(), metav1.ListOptions{FieldSelector: fmt.Sprintf("involvedObject.uid=%v,reason=%s", of, reason)})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// eventsNamed are kube-prepull's events about whatever has a name.
func (n pinning) eventsNamed(t *testing.T, name string) []string {
	t.Helper()
	list, err := n.Client().CoreV1().Events(n.Name).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, event := range list.Items {
		if strings.Contains(event.Reason, "Pinned") {
			found = append(found, event.Reason+": "+event.Message)
		}
	}
	return found
}

func (n pinning) waitEvent(t *testing.T, about metav1.Object, reason string) corev1.Event {
	t.Helper()
	var events []corev1.Event
	lab.Eventually(t, "an event "+reason+" of "+about.GetName(), func() error {
		if events = n.events(t, about.GetUID(), reason); len(events) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	event := events[0]
	if event.Type != corev1.EventTypeWarning || event.InvolvedObject.Kind == "" || event.InvolvedObject.Name != about.GetName() {
		t.Errorf("the event is a %s of %+v", event.Type, event.InvolvedObject)
	}
	return event
}

// problems is how often the managers of now have told of problems.
func (n pinning) problems(t *testing.T, reason string) int {
	t.Helper()
	sum := 0.0
	for _, manager := range n.Managers(t) {
		sum += n.Metric(t, manager, fmt.Sprintf("kube_prepull_pin_problems_total{reason=%q}", reason))
	}
	return int(sum)
}

// wantProblems waits for a metric. Other tests may add to it.
func (n pinning) wantProblems(t *testing.T, reason string, atLeast int) {
	t.Helper()
	lab.Eventually(t, "the metric of "+reason, func() error {
		if got := n.problems(t, reason); got < atLeast {
			return fmt.Errorf("it is %d, want %d", got, atLeast)
		}
		return nil
	})
}

// deleteManifest takes an image by digest out of the registry; tags that point to it are none of its business.
func (n pinning) deleteManifest(t *testing.T, image string) {
	t.Helper()
	reference, err := name.NewDigest(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(reference, remote.WithTransport(n.Registry.Transport())); err != nil {
		t.Fatal(err)
	}
}

// noDeployments is a quota, and returns when it holds.
func (n pinning) noDeployments(t *testing.T, image string) {
	t.Helper()
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"}}
	quota.Spec.Hard = corev1.ResourceList{"count/deployments.apps": *lab.Zero()}
	if _, err := n.Client().CoreV1().ResourceQuotas(n.Name).Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the quota to hold", func() error {
		_, err := n.Client().AppsV1().Deployments(n.Name).Create(t.Context(), lab.Deployment("dry", image, 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "exceeded quota") {
			return fmt.Errorf("it says: %v", err)
		}
		return nil
	})
}

// deploymentsAgain lifts the quota, and creates a Deployment as soon as that shows.
func (n pinning) deploymentsAgain(t *testing.T, name, image string) {
	t.Helper()
	if err := n.Client().CoreV1().ResourceQuotas(n.Name).Delete(t.Context(), "none", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the quota to hold no longer", func() error {
		_, err := n.Client().AppsV1().Deployments(n.Name).Create(t.Context(), lab.Deployment(name, image, 0), metav1.CreateOptions{})
		return err
	})
}
