package place

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestPodsThatAskForADevice has a node whose device plugin comes later than the node.
func TestPodsThatAskForADevice(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.addFakeNode(t, cluster.FakeNodes{Prefix: "gpu-", Labels: map[string]string{"kind": "gpu"}})
	p.Namespace(t, "shop", true)
	web := p.Push(t, "shop/web:v1", images.Image{Seed: 351})
	train := p.Push(t, "shop/train:v1", images.Image{Seed: 352})
	p.Deploy(t, "shop", lab.Deployment("web", web, 0))
	d := lab.Deployment("train", train, 0)
	device := corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}
	d.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: device, Limits: device}
	p.Deploy(t, "shop", d)
	p.waitSelected(t, train, "NoNodes", "No node offers example.com/gpu.")
	p.WaitState(t, web, "Ready")
	before := p.OneForEachNode(t, "node-1", "node-2", "gpu-0")

	p.advertise(t, "gpu-0", "8")
	p.waitListed(t, train, "gpu-0")
	p.WaitState(t, train, "Ready")
	p.waitListed(t, web, "gpu-0", "node-1", "node-2")
	after := p.OneForEachNode(t, "node-1", "node-2", "gpu-0")
	if before["node-1"] != after["node-1"] || before["node-2"] != after["node-2"] {
		t.Errorf("prepull pods of other nodes were replaced: %v, now %v", before, after)
	}
	var answer struct {
		OnNodes []struct{ Node, State, Message string }
	}
	lab.PluginFor(t, p.Cluster).Asks(t, &answer, "explain", train)
	for _, n := range answer.OnNodes {
		if n.Node == "node-1" && n.Message != "the node does not offer example.com/gpu" {
			t.Errorf("explain says %+v", n)
		}
	}

	t.Run("a pod goes there, and teaches the same", func(t *testing.T) {
		p.scale(t, "shop", "train", 1)
		p.WaitRunning(t, "shop")
		p.WaitUsers(t, train, "1")
		p.waitListed(t, train, "gpu-0")
	})
	t.Run("a taint of its name keeps off others alone", func(t *testing.T) {
		p.patchNode(t, "gpu-0", `{"spec":{"taints":[{"key":"example.com/gpu","value":"present","effect":"NoSchedule"}]}}`)
		p.waitListed(t, web, "node-1", "node-2")
		p.waitListed(t, train, "gpu-0")
		p.WaitState(t, train, "Ready")
		if got := p.OneForEachNode(t, "node-1", "node-2", "gpu-0"); got["node-1"] != after["node-1"] {
			t.Error("the prepull pod of another node was replaced")
		}
	})
	t.Run("without a label only names tell", func(t *testing.T) {
		p.patchNode(t, "gpu-0", `{"metadata":{"labels":{"kind":null}},"spec":{"taints":null}}`)
		p.addFakeNode(t, cluster.FakeNodes{Prefix: "more-"})
		p.waitListed(t, train, "gpu-0")
		p.waitListed(t, web, "gpu-0", "more-0", "node-1", "node-2")
		p.OneForEachNode(t, "node-1", "node-2", "gpu-0", "more-0")
	})
}

// TestPodsOfARuntimeClass follows a RuntimeClass that comes, says where its pods run, and goes.
func TestPodsOfARuntimeClass(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.addFakeNode(t, cluster.FakeNodes{
		Prefix: "kata-", Labels: map[string]string{"sandbox": "kata"}, Taints: []corev1.Taint{{Key: "sandbox", Value: "kata", Effect: corev1.TaintEffectNoSchedule}},
	})
	p.Namespace(t, "shop", true)
	image := p.Push(t, "shop/sandboxed:v1", images.Image{Seed: 361})
	d := lab.Deployment("sandboxed", image, 0)
	name := "kata"
	d.Spec.Template.Spec.RuntimeClassName = &name
	p.Deploy(t, "shop", d)
	p.waitSelected(t, image, "NoNodes", "RuntimeClass kata does not exist: no pod can start.")

	ctx, classes := t.Context(), p.Client().NodeV1().RuntimeClasses()
	class, err := classes.Create(ctx, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: "runc"}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = classes.Delete(context.Background(), name, metav1.DeleteOptions{}) }) // the cluster is leased
	p.waitListed(t, image, webNodes...)
	p.WaitState(t, image, "Ready")

	class.Scheduling = &nodev1.Scheduling{NodeSelector: map[string]string{"sandbox": "kata"}, Tolerations: []corev1.Toleration{{Key: "sandbox", Operator: corev1.TolerationOpExists}}}
	if class, err = classes.Update(ctx, class, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.waitListed(t, image, "kata-0")
	p.WaitState(t, image, "Ready")

	class.Scheduling.NodeSelector = map[string]string{"sandbox": "gvisor"}
	if class, err = classes.Update(ctx, class, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.waitSelected(t, image, "NoNodes", "No Linux node matches what its pods ask of a node.")
	class.Scheduling.NodeSelector = map[string]string{"sandbox": "kata"}
	if _, err = classes.Update(ctx, class, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.scale(t, "shop", "sandboxed", 1)
	p.WaitRunning(t, "shop")
	p.WaitState(t, image, "Ready")
	p.waitListed(t, image, "kata-0")
}

// TestPodsThatNameTheirNode have it from their template, and not from the scheduler.
func TestPodsThatNameTheirNode(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "named", false)
	named := p.Push(t, "named/app:v1", images.Image{Seed: 371})
	other := p.Push(t, "named/other:v1", images.Image{Seed: 372})
	d := lab.Deployment("app", named, 1)
	d.Spec.Template.Spec.NodeName = "node-2"
	p.Deploy(t, "named", d)
	p.Deploy(t, "named", lab.Deployment("other", other, 1))
	lab.Eventually(t, "both pods", func() error {
		pods, err := p.Client().CoreV1().Pods("named").List(t.Context(), metav1.ListOptions{})
		if err == nil && (len(pods.Items) != 2 || slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return !lab.PodRunning(&pod) })) {
			err = fmt.Errorf("there are %d, not all run", len(pods.Items))
		}
		return err
	})
	optIn := []byte(`{"metadata":{"labels":{"kube-prepull.io/enabled":"true"}}}`)
	if _, err := p.Client().CoreV1().Namespaces().Patch(t.Context(), "named", types.MergePatchType, optIn, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	p.waitAsked(t, named, `{"placements":[{"nodeAffinity":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["node-2"]}]}]},`+
		`"tolerations":[{"effect":"NoSchedule","operator":"Exists"}]}],"userCount":1}`)
	p.waitAsked(t, other, `{"placements":[{}],"userCount":1}`)
}

// TestNodesThatRunNoDaemonSetPods are not waited for, by whatever class.
func TestNodesThatRunNoDaemonSetPods(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.maxNodeClasses=1", "--set", "config.nodeCondition=true")}
	p.addFakeNode(t, cluster.FakeNodes{
		Prefix: "fargate-", Labels: map[string]string{"eks.amazonaws.com/compute-type": "fargate"},
		Taints: []corev1.Taint{{Key: "eks.amazonaws.com/compute-type", Value: "fargate", Effect: corev1.TaintEffectNoSchedule}},
	})
	p.addFakeNode(t, cluster.FakeNodes{Prefix: "vk-", Taints: []corev1.Taint{{Key: "virtual-kubelet.io/provider", Value: "x", Effect: corev1.TaintEffectNoSchedule}}})
	// With more classes than may be, one tolerates everything.
	p.addFakeNode(t, gpuNode("gpu-"))
	p.Namespace(t, "shop", true)
	image := p.Push(t, "shop/anywhere:v1", images.Image{Seed: 381})
	d := lab.Deployment("anywhere", image, 0)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	p.Deploy(t, "shop", d)
	object := p.WaitState(t, image, "Ready")
	if got := lab.Field(object, "status", "ready"); got != "3/3" {
		t.Errorf("it is ready on %s nodes, want 3/3", got)
	}
	p.OneForEachNode(t, "node-1", "node-2", "gpu-0")
	var answer struct {
		Nodes []struct{ Name, State, Message string }
	}
	lab.PluginFor(t, p.Cluster).Asks(t, &answer, "nodes")
	got := map[string]string{}
	for _, n := range answer.Nodes {
		got[n.Name] = n.State + " " + n.Message
		if condition := lab.GetNode(t, p.Cluster, n.Name); strings.HasPrefix(n.State, "NotSelected") && slices.ContainsFunc(condition.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == "kube-prepull.io/ImagesReady" }) {
			t.Errorf("%s has a condition", n.Name)
		}
	}
	const virtual = "NotSelected it is a virtual node, which runs no DaemonSet pods "
	want := map[string]string{
		"node-1": "Complete ", "node-2": "Complete ", "gpu-0": "Complete ",
		"fargate-0": virtual + "(label eks.amazonaws.com/compute-type=fargate)", "vk-0": virtual + "(taint virtual-kubelet.io/provider)",
	}
	if !maps.Equal(got, want) {
		t.Errorf("nodes are %q, want %q", got, want)
	}
}

// waitSelected waits until an image has no place, with a reason and a message.
func (p product) waitSelected(t *testing.T, image, reason, message string) {
	t.Helper()
	lab.Eventually(t, "why "+image+" has no place", func() error {
		object := p.PrepullImage(t, image)
		if object == nil {
			return fmt.Errorf("it is not known")
		}
		if status, r, m := lab.Condition(object, "Selected"); status != "False" || r != reason || m != message {
			return fmt.Errorf("Selected is %s, %s: %s", status, r, m)
		}
		return nil
	})
}

// waitListed waits until an image is in the lists of these nodes, and of no others.
func (p product) waitListed(t *testing.T, image string, nodes ...string) {
	t.Helper()
	lab.Eventually(t, image+" to be in other lists", func() error {
		if got := p.nodesThatList(t, image); !slices.Equal(got, nodes) {
			return fmt.Errorf("it is in those of %v, want %v", got, nodes)
		}
		return nil
	})
}

// advertise makes a fake node offer devices, as its kubelet does once a device plugin has registered.
func (p product) advertise(t *testing.T, name, quantity string) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":{"capacity":{"example.com/gpu":%[1]q},"allocatable":{"example.com/gpu":%[1]q}}}`, quantity)
	if _, err := p.Client().CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

func (p product) scale(t *testing.T, namespace, name string, replicas int) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	if _, err := p.Client().AppsV1().Deployments(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
