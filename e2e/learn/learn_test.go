package learn

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestADeploymentsImageIsOnEveryNode is the promise: a Deployment of one pod in an opted-in namespace, of an image from
// scratch, brings its image to a node that has never run it, and a pod there starts without a pull.
func TestADeploymentsImageIsOnEveryNode(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "promise", true)
	image := p.Push(t, "promise/app:v1", images.Image{Size: 20 << 20, Seed: 7})
	watch := lab.StartStopwatch()
	d := lab.Deployment("app", image, 1)
	d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
	p.Deploy(t, "promise", d)
	p.WaitOnNodes(t, image, "node-1", "node-2")
	watch.Within(t, 20*time.Second, "from the Deployment to the image being on both nodes")
	object := p.WaitState(t, image, "Ready")
	if got := lab.Field(object, "status", "ready"); got != "2/2" {
		t.Errorf("ready is %q, want 2/2", got)
	}
	if got := lab.Field(object, "status", "userCount"); got != "1" {
		t.Errorf("userCount is %q, want 1: the Deployment", got)
	}

	pod := lab.PodOn("node-2", "never-here", image)
	pod.Namespace = "promise"
	lab.StartPod(t, p.Cluster, pod)
	if message := p.PulledEvent(t, "promise", "never-here"); !strings.Contains(message, "already present") {
		t.Errorf("the kubelet says %q, want that the image was already present", message)
	}
}

func TestAnUnlabelledNamespaceIsNeverTouched(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "private", false)
	p.Namespace(t, "labelled", true)
	image := p.Push(t, "private/app:v1", images.Image{Seed: 11})
	canary := p.Push(t, "labelled/app:v1", images.Image{Seed: 12})
	before := lab.Deployment("app", image, 1)
	p.Deploy(t, "private", before)
	stored, err := p.Client().AppsV1().Deployments("private").Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(stored.Spec.Template.Annotations) > 0 {
		t.Errorf("the template got annotations: %v", stored.Spec.Template.Annotations)
	}
	// What comes later in a labelled namespace is learned first.
	p.Deploy(t, "labelled", lab.Deployment("app", canary, 1))
	p.WaitState(t, canary, "Ready")
	if p.PrepullImage(t, image) != nil || p.Listed(t, image) {
		t.Error("the image of the unlabelled namespace was learned")
	}
}

// TestANamespaceIsLearnedWhenItIsLabelled labels a namespace in which everything is there already, and unlabels it.
func TestANamespaceIsLearnedWhenItIsLabelled(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "later", false)
	image := p.Push(t, "later/app:v1", images.Image{Seed: 21})
	idle := p.Push(t, "later/idle:v1", images.Image{Seed: 22})
	p.Deploy(t, "later", lab.Deployment("app", image, 1))
	p.Deploy(t, "later", lab.Deployment("idle", idle, 0))
	label := func(value string) {
		t.Helper()
		patch := fmt.Sprintf(`{"metadata":{"labels":{"kube-prepull.io/enabled":%s}}}`, value)
		if _, err := p.Client().CoreV1().Namespaces().Patch(t.Context(), "later", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	label(`"true"`)
	p.WaitState(t, image, "Ready")
	p.WaitState(t, idle, "Ready")
	label(`null`)
	lab.Eventually(t, "the images to be let go", func() error {
		for _, i := range []string{image, idle} {
			if p.PrepullImage(t, i) != nil || p.Listed(t, i) {
				return fmt.Errorf("%s is known or listed", i)
			}
		}
		return nil
	})
}

// TestEveryKindIsLearned has an image of its own in each kind of workload, and in each place of a pod.
func TestEveryKindIsLearned(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "kinds", true)
	image := func(name string) string {
		return p.Push(t, "kinds/"+name+":v1", images.Image{Seed: uint64(len(name)), Env: []string{"NAME=" + name}})
	}
	always := corev1.ContainerRestartPolicyAlways
	spec := lab.PodOn("", "app", image("main")).Spec
	init := corev1.Container{Name: "init", Image: image("init"), Args: []string{"get", "https://$(KUBERNETES_SERVICE_HOST)"}}
	sidecar := corev1.Container{Name: "sidecar", Image: image("sidecar"), RestartPolicy: &always}
	spec.InitContainers = []corev1.Container{init, sidecar}
	names := []string{"main", "init", "sidecar", "daemonset", "statefulset", "job", "cronjob", "pod"}
	if lab.Kubernetes(t) >= lab.ImageVolumes {
		volume := image("volume")
		spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: volume, PullPolicy: corev1.PullIfNotPresent}}}}
		names = append(names, "volume")
	}
	d := lab.Deployment("deployment", "", 1)
	d.Spec.Template.Spec = spec
	p.Deploy(t, "kinds", d)

	ctx, client := t.Context(), p.Client()
	ds := lab.DaemonSet("daemonset", image("daemonset"))
	if _, err := client.AppsV1().DaemonSets("kinds").Create(ctx, ds, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	labels := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "statefulset"}}
	template := lab.Deployment("statefulset", image("statefulset"), 1).Spec.Template
	if err := createStatefulSet(ctx, client, "kinds", labels, template); err != nil {
		t.Fatal(err)
	}
	job := batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: lab.PodOn("", "job", image("job")).Spec}}
	job.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if _, err := client.BatchV1().Jobs("kinds").Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: job}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cron := *job.DeepCopy()
	cron.Template.Spec.Containers[0].Image = image("cronjob")
	if _, err := client.BatchV1().CronJobs("kinds").Create(ctx, &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "cronjob"},
		Spec:       batchv1.CronJobSpec{Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: cron}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := lab.PodOn("node-1", "", image("pod"))
	pod.Namespace, pod.GenerateName = "kinds", "bare-"
	lab.StartPod(t, p.Cluster, pod)
	out := lab.PodOn("node-1", "opted-out", image("opted-out"))
	out.Namespace, out.Labels = "kinds", map[string]string{"kube-prepull.io/enabled": "false"}
	lab.StartPod(t, p.Cluster, out)

	for _, name := range names {
		p.WaitState(t, p.Registry.Addr()+"/kinds/"+name+":v1", "Ready")
	}
	if p.PrepullImage(t, p.Registry.Addr()+"/kinds/opted-out:v1") != nil {
		t.Error("the image of a pod that opted out was learned")
	}
}

// TestADeclaredImageIsPulledToo declares one that no workload uses.
func TestADeclaredImageIsPulledToo(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	image := p.Push(t, "declared/app:v1", images.Image{Seed: 31})
	p.Declare(t, "declared", image)
	p.WaitState(t, image, "Ready")
	if err := p.Images.Delete(t.Context(), "declared", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the DaemonSet to drop it", func() error {
		if p.Listed(t, image) {
			return fmt.Errorf("it is listed")
		}
		return nil
	})
}

// TestWhatIsNotStoredTeachesNothing sends a dry run, a Deployment that a quota refuses, and forged reviews straight to
// the webhook; then a real Deployment, whose being learned says that the others would have been.
func TestWhatIsNotStoredTeachesNothing(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "honest", true)
	image := func(name string) string { return p.Registry.Addr() + "/honest/" + name + ":v1" }

	if _, err := p.Client().AppsV1().Deployments("honest").Create(t.Context(), lab.Deployment("dry", image("dry"), 1), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	stored := p.Push(t, "honest/stored:v1", images.Image{Seed: 42})
	p.Deploy(t, "honest", lab.Deployment("stored", stored, 0))
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "no-deployments"}}
	quota.Spec.Hard = corev1.ResourceList{"count/deployments.apps": *lab.Zero()}
	if _, err := p.Client().CoreV1().ResourceQuotas("honest").Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// A Deployment that is stored before the quota is at work may be learned, so each try has a name of its own.
	tries, refused := 0, ""
	lab.Eventually(t, "the quota to refuse a Deployment", func() error {
		tries++
		refused = fmt.Sprint("refused-", tries)
		_, err := p.Client().AppsV1().Deployments("honest").Create(t.Context(), lab.Deployment(refused, image(refused), 1), metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "exceeded quota") {
			_ = p.Client().AppsV1().Deployments("honest").Delete(t.Context(), refused, metav1.DeleteOptions{})
			return fmt.Errorf("it says: %v", err)
		}
		return nil
	})
	p.Namespace(t, "hidden", false)
	p.Deploy(t, "hidden", lab.Deployment("stored", image("hidden"), 0))
	forge(t, p, lab.DeploymentReview(t, admissionv1.Create, "honest", lab.Deployment("forged", image("forged"), 1)))
	forge(t, p, lab.DeploymentReview(t, admissionv1.Update, "honest", lab.Deployment("stored", image("replaced"), 1)))
	forge(t, p, lab.DeploymentReview(t, admissionv1.Create, "hidden", lab.Deployment("stored", image("hidden"), 1)))
	forge(t, p, lab.PodReview(t, "honest", image("owned")))
	if err := p.Client().CoreV1().ResourceQuotas("honest").Delete(t.Context(), "no-deployments", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	real := p.Push(t, "honest/real:v1", images.Image{Seed: 41})
	lab.Eventually(t, "a Deployment to be allowed", func() error {
		_, err := p.Client().AppsV1().Deployments("honest").Create(t.Context(), lab.Deployment("real", real, 1), metav1.CreateOptions{})
		return err
	})
	p.WaitState(t, real, "Ready")
	p.WaitState(t, stored, "Ready")
	for _, name := range []string{"dry", refused, "forged", "replaced", "hidden", "owned"} {
		if p.PrepullImage(t, image(name)) != nil {
			t.Errorf("the image %s was learned", name)
		}
	}
}

// forge posts a review to every manager, as any pod of the cluster could, and checks that it is answered and allowed.
func forge(t *testing.T, p product, request *admissionv1.AdmissionRequest) {
	t.Helper()
	lab.ForgeTo(t, p.Product, "/observe", request)
}

// TestOnlyWhatTeachesReachesTheWebhook counts the admissions of changes that no image can come with, and of one that can.
func TestOnlyWhatTeachesReachesTheWebhook(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "quiet", true)
	image := p.Push(t, "quiet/app:v1", images.Image{Seed: 45})
	p.Deploy(t, "quiet", lab.Deployment("app", image, 0))
	p.WaitState(t, image, "Ready")
	pods := func(want int) {
		t.Helper()
		lab.Eventually(t, fmt.Sprintf("%d pods", want), func() error {
			list, err := p.Client().CoreV1().Pods("quiet").List(t.Context(), metav1.ListOptions{})
			if err == nil && len(list.Items) != want {
				err = fmt.Errorf("there are %d", len(list.Items))
			}
			return err
		})
	}
	change := func(patch string) {
		t.Helper()
		if _, err := p.Client().AppsV1().Deployments("quiet").Patch(t.Context(), "app", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	before := p.Admissions(t)
	if _, err := p.Kubectl(t.Context(), "scale", "--namespace=quiet", "--replicas=2", "deployment/app"); err != nil {
		t.Fatal(err)
	}
	pods(2)
	change(`{"spec":{"replicas":3}}`)
	pods(3)
	change(`{"metadata":{"labels":{"team":"a"}}}`)
	change(`{"metadata":{"annotations":{"note":"a"}}}`)
	change(`{"spec":{"minReadySeconds":1}}`)
	change(`{"spec":{"replicas":0}}`)
	pods(0)
	if got := p.Admissions(t) - before; got != 3 {
		t.Errorf("%d admissions reached the webhook, want the three pods'", got)
	}
	change(`{"spec":{"template":{"metadata":{"annotations":{"note":"a"}}}}}`)
	lab.Eventually(t, "the new template to reach the webhook", func() error {
		if got := p.Admissions(t) - before; got != 4 {
			return fmt.Errorf("%d admissions did", got)
		}
		return nil
	})
}

// TestANewNodeGetsTheWholeList adds a third node and looks before any workload runs there. The registry has had too many
// questions about one of the images: the node does not claim to have all meanwhile.
func TestANewNodeGetsTheWholeList(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.nodeCondition=true")}
	p.Namespace(t, "grow", true)
	var all []string
	for i := range 3 {
		image := p.Push(t, fmt.Sprintf("grow/app%d:v1", i), images.Image{Size: 5 << 20, Seed: uint64(50 + i)})
		p.Deploy(t, "grow", lab.Deployment(fmt.Sprintf("app%d", i), image, 1))
		all = append(all, image)
	}
	for _, image := range all {
		p.WaitState(t, image, "Ready")
	}
	p.WaitHeld(t, all...)
	before := p.DaemonSets(t)
	p.Registry.SetFault("grow/app0", registry.TooManyRequests(time.Second))
	defer p.Registry.LiftFault("grow/app0")
	asked := p.Registry.Counts("grow/app0").Manifests()
	if err := p.AddNode(t.Context(), clusterNode("node-3")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.RemoveNode(context.Background(), "node-3"); err != nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, "the node to be refused a few times", func() error {
		if status := p.warm(t, "node-3"); status == corev1.ConditionTrue {
			t.Fatal("the node says that it has its images")
		}
		if n := p.Registry.Counts("grow/app0").Manifests() - asked; n < 6 {
			return fmt.Errorf("it was refused %d times", n)
		}
		return nil
	})
	p.Registry.LiftFault("grow/app0")
	for _, image := range all {
		p.WaitOnNodes(t, image, "node-3")
	}
	lab.Eventually(t, "the node to say that it has its images", func() error {
		if status := p.warm(t, "node-3"); status != corev1.ConditionTrue {
			return fmt.Errorf("it says %q", status)
		}
		return nil
	})
	for i, ds := range p.DaemonSets(t) {
		if ds.Generation != before[i].Generation {
			t.Errorf("DaemonSet %s was rewritten because of a node of a known shape", ds.Name)
		}
	}
	lab.Eventually(t, "3/3", func() error {
		if got := lab.Field(p.PrepullImage(t, all[0]), "status", "ready"); got != "3/3" {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

// warm is what a node says of its images, empty if nothing.
func (p product) warm(t *testing.T, node string) corev1.ConditionStatus {
	t.Helper()
	for _, c := range lab.GetNode(t, p.Cluster, node).Status.Conditions {
		if c.Type == "kube-prepull.io/ImagesReady" {
			return c.Status
		}
	}
	return ""
}

func clusterNode(name string) cluster.Node { return cluster.Node{Name: name} }
