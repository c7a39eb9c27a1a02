package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// admissionTime is what nobody who creates a workload waits longer for. The webhook itself stops at 1.2 s.
const admissionTime = 2 * time.Second

// at is the namespace with images in another registry. Each that fails is a test's own: kube-prepull leaves a registry
// alone for a while that does not answer.
func (n *pinning) at(r *registry.Registry) *pinning {
	p := *n.product
	p.registry = r
	return &pinning{&p, n.name}
}

// admitted is what who sends a request gets.
type admitted struct {
	template metav1.ObjectMeta // of the pods
	warnings []string
	took     time.Duration
}

// warned keeps the warnings of requests.
type warned struct {
	mu    sync.Mutex
	texts []string
}

func (w *warned) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// admit sends a request about a Deployment, which must be admitted in time whatever the registry does.
func (n *pinning) admit(t *testing.T, request func(kubernetes.Interface) (*appsv1.Deployment, error)) admitted {
	t.Helper()
	w := &warned{}
	config := n.Config()
	config.WarningHandler = w
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	d, err := request(client)
	took := time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	if took > admissionTime {
		t.Errorf("Deployment %s took %s, want %s at most", d.Name, took, admissionTime)
	}
	return admitted{d.Spec.Template.ObjectMeta, w.texts, took}
}

// admitNew creates a Deployment without replicas.
func (n *pinning) admitNew(t *testing.T, d *appsv1.Deployment) admitted {
	t.Helper()
	return n.admit(t, func(client kubernetes.Interface) (*appsv1.Deployment, error) {
		return client.AppsV1().Deployments(n.name).Create(t.Context(), d, metav1.CreateOptions{})
	})
}

// admitRestart is kubectl rollout restart.
func (n *pinning) admitRestart(t *testing.T, name string) admitted {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	return n.admit(t, func(client kubernetes.Interface) (*appsv1.Deployment, error) {
		return client.AppsV1().Deployments(n.name).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	})
}

// waitObserved waits until the Deployment controller has nothing to write.
func (n *pinning) waitObserved(t *testing.T, name string) {
	t.Helper()
	eventually(t, 30*time.Second, "Deployment "+name+" to be observed", func() error {
		d, err := n.Client().AppsV1().Deployments(n.name).Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && (d.Status.ObservedGeneration != d.Generation || len(d.Status.Conditions) < 2) {
			err = fmt.Errorf("its status is %+v", d.Status)
		}
		return err
	})
}

// wantPins compares the pins of a template. None is nil.
func (a admitted) wantPins(t *testing.T, want map[string]string) {
	t.Helper()
	if want == nil {
		want = map[string]string{}
	}
	if diff := cmp.Diff(want, pinsOf(a.template.Annotations)); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
}

// wantWarning wants one warning, with all of these words.
func (a admitted) wantWarning(t *testing.T, words ...string) {
	t.Helper()
	if len(a.warnings) != 1 {
		t.Errorf("there are the warnings %q, want one", a.warnings)
		return
	}
	for _, word := range words {
		if !strings.Contains(a.warnings[0], word) {
			t.Errorf("the warning is %q, want %q in it", a.warnings[0], word)
		}
	}
}

// unanswered are ways in which a registry does not tell where a tag points, with what it says and with what
// kube-prepull says.
var unanswered = map[string]struct {
	fail   func(*registry.Registry)
	repair func(*registry.Registry)
	why    string

	// refuses is set if the registry said no: then a pin is not worth keeping.
	refuses bool
}{
	"401":  {fault(registry.Refuse(401)), lift, "answers 401 Unauthorized", true},
	"403":  {fault(registry.Refuse(403)), lift, "answers 403 Forbidden", true},
	"404":  {fault(registry.Refuse(404)), lift, "answers 404 Not Found", true},
	"429":  {fault(registry.TooManyRequests(time.Minute)), lift, "answers 429 Too Many Requests", false},
	"500":  {fault(registry.Refuse(500)), lift, "answers 500 Internal Server Error", false},
	"503":  {fault(registry.Refuse(503)), lift, "answers 503 Service Unavailable", false},
	"hang": {fault(registry.Hang()), lift, "does not answer in time", false},
	"down": {
		func(r *registry.Registry) { r.SetDown(true) }, func(r *registry.Registry) { r.SetDown(false) },
		"connection", false,
	},
}

func fault(f registry.Fault) func(*registry.Registry) {
	return func(r *registry.Registry) { r.SetFault("*", f) }
}

func lift(r *registry.Registry) { r.LiftFault("*") }

// TestARegistryThatFailsHoldsNobodyUp creates a Deployment meanwhile. It stays as it is, whoever creates it is told why,
// and its pods start once nodes can pull.
func TestARegistryThatFailsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	n := newPinning(t, "faults", "latest")
	for name, test := range unanswered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := n.at(newRegistry(t, n.Cluster, registry.Options{}))
			app := "app-" + name
			n.versions(t, app, 1)
			n.point(t, app, "latest", "v1")
			image := n.image(app + ":latest")
			test.fail(n.registry)
			a := n.admitNew(t, deployment(app, image, 0))
			a.wantPins(t, nil)
			a.wantWarning(t, "container app ", image, test.why)
			test.repair(n.registry)
			n.kubectl(t, "scale", "--replicas=1", "deployment/"+app)
			n.waitPods(t, app, 1, image)
		})
	}
}

// TestARestartWhileTheRegistryFails keeps the digest that the Deployment has, unless the registry says that it is nothing
// for it.
func TestARestartWhileTheRegistryFails(t *testing.T) {
	t.Parallel()
	n := newPinning(t, "restarts", "latest")
	for name, test := range unanswered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := n.at(newRegistry(t, n.Cluster, registry.Options{}))
			app := "app-" + name
			digests := n.versions(t, app, 2)
			image := n.image(app + ":latest")
			n.point(t, app, "latest", "v1")
			a := n.admitNew(t, deployment(app, image, 0))
			a.wantPins(t, appPin(image, digests[0]))
			if len(a.warnings) > 0 {
				t.Errorf("there are warnings: %q", a.warnings)
			}
			n.point(t, app, "latest", "v2")
			n.waitObserved(t, app) // the API server admits a patch twice that meets another change
			test.fail(n.registry)
			a = n.admitRestart(t, app)
			if test.refuses {
				a.wantPins(t, nil)
				a.wantWarning(t, "container app ", "stays a tag", image, test.why)
			} else {
				a.wantPins(t, appPin(image, digests[0]))
				a.wantWarning(t, "container app ", "keeps its digest", image, test.why)
			}
			n.wantPins(t, "deployment", app, pinsOf(a.template.Annotations))
		})
	}
}

// TestOneOfTwoRegistriesHangs, and many containers have their images there: the one with the other registry is pinned.
func TestOneOfTwoRegistriesHangs(t *testing.T) {
	t.Parallel()
	good := newPinning(t, "halves", "latest")
	digest := good.versions(t, "app", 1)[0]
	good.point(t, "app", "latest", "v1")
	bad := good.at(newRegistry(t, good.Cluster, registry.Options{}))
	bad.registry.SetFault("*", registry.Hang())
	d := deployment("halves", good.image("app:latest"), 0)
	containers := &d.Spec.Template.Spec.Containers
	const others = 12
	for i := range others {
		other := (*containers)[0]
		other.Name, other.Image = fmt.Sprintf("other-%d", i), bad.image(fmt.Sprintf("app-%d:latest", i))
		*containers = append(*containers, other)
	}
	a := good.admitNew(t, d)
	a.wantPins(t, appPin(good.image("app:latest"), digest))
	if len(a.warnings) != others {
		t.Errorf("there are the warnings %q, want %d", a.warnings, others)
	}
}

// TestARegistryThatAsksForRestGetsIt creates many Deployments while a registry does not want to be asked, and then waits
// until it is asked again.
func TestARegistryThatAsksForRestGetsIt(t *testing.T) {
	t.Parallel()
	const rest = 15 * time.Second
	n := newPinning(t, "rest", "latest")
	managers := int64(len(n.managers(t)))
	n = n.at(newRegistry(t, n.Cluster, registry.Options{}))
	digest := n.versions(t, "again", 1)[0]
	n.point(t, "again", "latest", "v1")
	n.registry.SetFault("*", registry.TooManyRequests(rest))

	start, alone := time.Now(), 0
	var took []time.Duration
	for i := range 30 {
		name := fmt.Sprintf("app-%d", i) // none shares an answer with another
		a := n.admitNew(t, deployment(name, n.image(name+":latest"), 0))
		a.wantPins(t, nil)
		a.wantWarning(t, "container app ", n.registry.Addr())
		if strings.Contains(a.warnings[0], "is left alone until") {
			alone++
		}
		took = append(took, a.took)
	}
	if time.Since(start) > rest-time.Second {
		t.Fatalf("30 Deployments took %s", time.Since(start))
	}
	if asked := n.questions("*"); asked == 0 || asked > managers {
		t.Errorf("the registry was asked %d times, want once by each of %d managers at most", asked, managers)
	}
	if int64(30-alone) > managers {
		t.Errorf("%d of 30 warnings say that the registry is left alone", alone)
	}
	slices.Sort(took)
	t.Logf("a Deployment took %s, the slowest %s", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if took[len(took)/2] > admissionTime/4 {
		t.Errorf("a Deployment took %s while nobody was asked", took[len(took)/2])
	}

	n.registry.LiftFault("*")
	image := n.image("again:latest")
	eventually(t, 2*rest, "the registry to be asked again", func() error {
		a := n.admit(t, func(client kubernetes.Interface) (*appsv1.Deployment, error) {
			return client.AppsV1().Deployments(n.name).Create(t.Context(), deployment("again", image, 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		})
		if a.template.Annotations["pin.kube-prepull.io/app"] != image+"@"+digest {
			return fmt.Errorf("there are the warnings %q", a.warnings)
		}
		return nil
	})
}

// TestAWorkloadThatComesWithItsNamespace is pinned: a manifest may begin with a Namespace, and nobody waits after it.
func TestAWorkloadThatComesWithItsNamespace(t *testing.T) {
	t.Parallel()
	n := newPinning(t, "together", "latest")
	digest := n.versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	image := n.image("app:latest")
	for i := range 20 {
		now := n.pinning(t, fmt.Sprintf("together-%d", i))
		t.Cleanup(func() {
			if err := n.Client().CoreV1().Namespaces().Delete(context.Background(), now.name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		now.admitNew(t, deployment("app", image, 0)).wantPins(t, appPin(image, digest))
	}
}
