package place

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestImagesGoWhereTheirPodsMayRun has a node of a pool of its own, tainted, and one for everything else.
func TestImagesGoWhereTheirPodsMayRun(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.addFakeNode(t, gpuNode("gpu-a"))
	p.Namespace(t, "shop", true)
	web := p.Push(t, "shop/web:v1", images.Image{Seed: 301})
	train := p.Push(t, "shop/train:v1", images.Image{Seed: 302})
	p.Deploy(t, "shop", lab.Deployment("web", web, 0))
	d := lab.Deployment("train", train, 0)
	d.Spec.Template.Spec.NodeSelector = map[string]string{"pool": "gpu"}
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	p.Deploy(t, "shop", d)

	for image, nodes := range map[string][]string{web: webNodes, train: {"gpu-a0"}} {
		object := p.WaitState(t, image, "Ready")
		if got, want := lab.Field(object, "status", "ready"), fmt.Sprintf("%[1]d/%[1]d", len(nodes)); got != want {
			t.Errorf("%s is ready on %s, want %s", image, got, want)
		}
		if got := p.nodesThatList(t, image); !slices.Equal(got, nodes) {
			t.Errorf("%s is in the lists of %v, want %v", image, got, nodes)
		}
	}
	before := p.OneForEachNode(t, "node-1", "node-2", "gpu-a0")

	t.Run("a workload of which no node is fit restarts no pod", func(t *testing.T) {
		disk := p.Push(t, "shop/disk:v1", images.Image{Seed: 303})
		d := lab.Deployment("disk", disk, 0)
		d.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
		p.Deploy(t, "shop", d)
		p.WaitState(t, disk, "Skipped: NoNodes")
		lab.Eventually(t, "the lists to leave nodes with a disk to another one", func() error {
			for _, ds := range p.DaemonSets(t) {
				if terms := fmt.Sprint(ds.Spec.Template.Spec.Affinity); !strings.Contains(terms, "disk") {
					return fmt.Errorf("%s has %s", ds.Name, terms)
				}
			}
			return nil
		})
		if after := p.OneForEachNode(t, "node-1", "node-2", "gpu-a0"); !maps.Equal(before, after) {
			t.Errorf("prepull pods were %v, are %v", before, after)
		}
	})
	t.Run("a node of a known shape needs no manager", func(t *testing.T) {
		p.ScaleManagers(t, 0)
		p.addFakeNode(t, gpuNode("gpu-b"))
		p.WaitOnNodes(t, train, "gpu-b0")
		p.ScaleManagers(t, 2)
		p.OneForEachNode(t, "node-1", "node-2", "gpu-a0", "gpu-b0")
	})
	t.Run("a label that comes and goes", func(t *testing.T) {
		disk := p.Registry.Addr() + "/shop/disk:v1"
		p.patchNode(t, "node-1", `{"metadata":{"labels":{"disk":"ssd"}}}`)
		p.WaitOnNodes(t, disk, "node-1")
		p.WaitOnNodes(t, web, "node-1")
		p.OneForEachNode(t, "node-1", "node-2", "gpu-a0", "gpu-b0")
		p.patchNode(t, "node-1", `{"metadata":{"labels":{"disk":null}}}`)
		p.WaitState(t, disk, "Skipped: NoNodes")
		p.WaitState(t, web, "Ready")
		p.OneForEachNode(t, "node-1", "node-2", "gpu-a0", "gpu-b0")
	})
	t.Run("a taint that comes and goes", func(t *testing.T) {
		for _, node := range webNodes {
			p.patchNode(t, node, `{"spec":{"taints":[{"key":"closed","value":"today","effect":"NoSchedule"}]}}`)
		}
		p.WaitState(t, web, "Skipped: NoNodes")
		p.OneForEachNode(t, "gpu-a0", "gpu-b0")
		for _, node := range webNodes {
			p.patchNode(t, node, `{"spec":{"taints":null}}`)
		}
		p.WaitState(t, web, "Ready")
		p.OneForEachNode(t, "node-1", "node-2", "gpu-a0", "gpu-b0")
	})
}

// TestNodesThatDifferInATaintAlone are told apart too, though no label says which is which.
func TestNodesThatDifferInATaintAlone(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.addFakeNode(t, cluster.FakeNodes{Prefix: "own-", Taints: []corev1.Taint{{Key: "owner", Value: "data", Effect: corev1.TaintEffectNoExecute}}})
	p.Namespace(t, "shop", true)
	web := p.Push(t, "shop/web:v1", images.Image{Seed: 311})
	anywhere := p.Push(t, "shop/anywhere:v1", images.Image{Seed: 312})
	p.Deploy(t, "shop", lab.Deployment("web", web, 0))
	p.WaitState(t, web, "Ready")

	// A policy of the cluster that refuses a DaemonSet is named where people look.
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "one-daemonset"}}
	quota.Spec.Hard = corev1.ResourceList{"count/daemonsets.apps": resource.MustParse("1")}
	if _, err := p.Client().CoreV1().ResourceQuotas(lab.System).Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the quota to count", func() error {
		q, err := p.Client().CoreV1().ResourceQuotas(lab.System).Get(t.Context(), quota.Name, metav1.GetOptions{})
		if used := q.Status.Used["count/daemonsets.apps"]; err != nil || used.Value() != 1 {
			return fmt.Errorf("%v used (%v)", used.Value(), err)
		}
		return nil
	})
	d := lab.Deployment("anywhere", anywhere, 0)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	p.Deploy(t, "shop", d)
	lab.Eventually(t, "the refusal to be told", func() error {
		object := p.PrepullImage(t, anywhere)
		if object == nil {
			return fmt.Errorf("the image is not known")
		}
		if _, reason, message := lab.Condition(object, "Ready"); reason != "DaemonSetRefused" || !strings.Contains(message, "exceeded quota") {
			return fmt.Errorf("it is %s: %s", reason, message)
		}
		return nil
	})
	if err := p.Client().CoreV1().ResourceQuotas(lab.System).Delete(t.Context(), quota.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.WaitState(t, anywhere, "Ready")
	p.WaitOnNodes(t, anywhere, "node-1", "node-2", "own-0")
	if got := p.nodesThatList(t, web); !slices.Equal(got, webNodes) {
		t.Errorf("the image without tolerations is in the lists of %v", got)
	}
	p.OneForEachNode(t, "node-1", "node-2", "own-0")

	// Once the nodes are alike, one of them is closed: the DaemonSet controller leaves the pod there, which is of a class
	// that the node is in no more.
	p.patchNode(t, "own-0", `{"spec":{"taints":null}}`)
	p.WaitOnNodes(t, web, "own-0")
	alike := p.OneForEachNode(t, "node-1", "node-2", "own-0")
	p.patchNode(t, "own-0", `{"spec":{"taints":[{"key":"owner","value":"data","effect":"NoSchedule"}]}}`)
	lab.Eventually(t, "the node to be left by the pod of the others", func() error {
		if got := p.nodesThatList(t, web); !slices.Equal(got, webNodes) {
			return fmt.Errorf("the image is in the lists of %v", got)
		}
		return nil
	})
	p.WaitOnNodes(t, anywhere, "own-0")
	if after := p.OneForEachNode(t, "node-1", "node-2", "own-0"); after["node-1"] != alike["node-1"] {
		t.Error("the prepull pod of the other node was replaced")
	}
}

// TestTwelveShapes brings a new image to nodes of twelve shapes with one write for each, and leaves one alone whose disk
// is full.
func TestTwelveShapes(t *testing.T) {
	t.Parallel()
	// To hold an image is a write of its own.
	p := product{lab.Lease(t, "--set", "config.imageVolumes=false")}
	var nodes []string
	for zone := range 3 {
		for pool := range 2 {
			for _, arch := range []string{"amd64", "arm64"} {
				prefix := fmt.Sprintf("z%d-p%d-%s-", zone, pool, arch)
				labels := map[string]string{"zone": fmt.Sprint("z", zone), "pool": fmt.Sprint("p", pool), corev1.LabelArchStable: arch}
				if err := p.AddFakeNodes(t.Context(), cluster.FakeNodes{Prefix: prefix, Count: 2, Labels: labels}); err != nil {
					t.Fatal(err)
				}
				nodes = append(nodes, prefix+"0", prefix+"1")
			}
		}
	}
	nodes = append(nodes, webNodes...)
	p.Namespace(t, "shop", true)
	for key, value := range map[string]string{"zone": "z1", "pool": "p0"} {
		d := lab.Deployment(key, p.Push(t, "shop/"+key+":v1", images.Image{Seed: 321}), 0)
		d.Spec.Template.Spec.NodeSelector = map[string]string{key: value}
		p.Deploy(t, "shop", d)
	}
	first := p.Push(t, "shop/first:v1", images.Image{Seed: 322})
	p.Deploy(t, "shop", lab.Deployment("first", first, 0))
	p.WaitState(t, first, "Ready")
	p.OneForEachNode(t, nodes...)
	p.waitDaemonSets(t, 13)

	before := p.Generations(t)
	second := p.Push(t, "shop/second:v1", images.Image{Seed: 323})
	p.Deploy(t, "shop", lab.Deployment("second", second, 0))
	object := p.WaitState(t, second, "Ready")
	if got := lab.Field(object, "status", "ready"); got != "26/26" {
		t.Errorf("it is ready on %s nodes, want 26/26", got)
	}
	for name, generation := range p.Generations(t) {
		if generation != before[name]+1 {
			t.Errorf("%s went from generation %d to %d for one image", name, before[name], generation)
		}
	}

	known := len(p.DaemonSets(t))
	watch := lab.StartStopwatch()
	if err := p.AddFakeNodes(t.Context(), cluster.FakeNodes{Prefix: "z9-", Count: 1, Labels: map[string]string{"zone": "z9"}}); err != nil {
		t.Fatal(err)
	}
	p.waitDaemonSets(t, known+1)
	watch.Within(t, 10*time.Second, "the DaemonSet of a node of a new shape")
	p.OneForEachNode(t, append(slices.Clone(nodes), "z9-0")...)
	if err := p.Client().CoreV1().Nodes().Delete(t.Context(), "z9-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.waitDaemonSets(t, known)

	full := "z0-p0-amd64-0"
	p.pressDisk(t, full, corev1.ConditionTrue)
	lab.Eventually(t, "the node with a full disk not to count", func() error {
		if got := lab.Field(p.PrepullImage(t, second), "status", "ready"); got != "25/25" {
			return fmt.Errorf("ready is %s", got)
		}
		return nil
	})
	p.OneForEachNode(t, slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == full })...)
	p.pressDisk(t, full, corev1.ConditionFalse)
	p.OneForEachNode(t, nodes...)
}

func (p product) waitDaemonSets(t *testing.T, want int) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("%d DaemonSets", want), func() error {
		if got := len(p.DaemonSets(t)); got != want {
			return fmt.Errorf("there are %d", got)
		}
		return nil
	})
}

// webNodes have no taint.
var webNodes = []string{"node-1", "node-2"}

// gpuNode is named after the prefix, with a 0.
func gpuNode(prefix string) cluster.FakeNodes {
	return cluster.FakeNodes{
		Prefix: prefix, Labels: map[string]string{"pool": "gpu"},
		Taints: []corev1.Taint{{Key: "gpu", Value: "true", Effect: corev1.TaintEffectNoSchedule}},
	}
}

func (p product) addFakeNode(t *testing.T, node cluster.FakeNodes) {
	t.Helper()
	node.Count = 1
	if err := p.AddFakeNodes(t.Context(), node); err != nil {
		t.Fatal(err)
	}
}

func (p product) patchNode(t *testing.T, name, patch string) {
	t.Helper()
	if _, err := p.Client().CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// pressDisk makes a fake node say that its disk is full, or is not any more.
func (p product) pressDisk(t *testing.T, name string, pressure corev1.ConditionStatus) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"DiskPressure","status":%q}]}}`, pressure)
	if _, err := p.Client().CoreV1().Nodes().Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// nodesThatList are the nodes whose prepull pods pull an image, sorted.
func (p product) nodesThatList(t *testing.T, image string) []string {
	t.Helper()
	var nodes []string
	for _, pod := range p.PrepullPods(t) {
		if lab.PullsImage(&pod.Spec, image) {
			nodes = append(nodes, pod.Spec.NodeName)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes) // two pods while a roll passes
}

// TestAnImageForAnotherArchitecture has no content for the nodes that there are.
func TestAnImageForAnotherArchitecture(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "elsewhere", true)
	image := p.Registry.Addr() + "/elsewhere/app:v1"
	other := map[string]string{"amd64": "linux/arm64", "arm64": "linux/amd64"}[runtime.GOARCH]
	if _, err := (images.Index{{Platform: other, Seed: 341}}).Push(t.Context(), image, remote.WithTransport(p.Registry.Transport())); err != nil {
		t.Fatal(err)
	}
	p.Deploy(t, "elsewhere", lab.Deployment("app", image, 0))
	object := p.WaitState(t, image, "PullFailed: not built for these nodes")
	if _, reason, message := lab.Condition(object, "PullFailed"); reason != "NoMatchingPlatform" || !strings.Contains(message, "no match for platform") {
		t.Errorf("it is %s: %s", reason, message)
	}
}
