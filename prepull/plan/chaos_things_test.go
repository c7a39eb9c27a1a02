package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func (c *chaos) addNode() {
	c.made++
	n := prepulltest.Node(fmt.Sprintf("node-%03d", c.made), "amd64")
	c.Nodes = append(c.Nodes, n)
	c.relabel(&c.Nodes[len(c.Nodes)-1])
	c.taint(&c.Nodes[len(c.Nodes)-1])
	c.Nodes[len(c.Nodes)-1].Status.NodeInfo = corev1.NodeSystemInfo{
		KubeletVersion: []string{"v1.35.1", "v1.36.0", "v1.36.0", "v1.37.0", "v1.37.0"}[c.IntN(5)], ContainerRuntimeVersion: "containerd://2.1.0",
	}
}

func (c *chaos) relabel(n *corev1.Node) {
	labels := map[string]string{}
	for _, key := range []string{corev1.LabelOSStable, corev1.LabelArchStable, corev1.LabelHostname} {
		labels[key] = n.Labels[key]
	}
	if c.IntN(2) == 0 {
		labels["pool"] = []string{"a", "b", "c"}[c.IntN(3)]
	}
	if c.IntN(3) == 0 {
		labels["gpu"] = "true"
	}
	if c.IntN(12) == 0 {
		labels["type"] = "virtual-kubelet"
	}
	n.Labels = labels
	c.attach(n)
}

// attach a device, or take it away.
func (c *chaos) attach(n *corev1.Node) {
	n.Status.Allocatable = nil
	if c.IntN(3) == 0 {
		n.Status.Allocatable = corev1.ResourceList{"example.com/gpu": *resource.NewQuantity(c.Int64N(2), resource.DecimalSI)}
	}
}

func (c *chaos) taint(n *corev1.Node) {
	n.Spec.Taints = nil
	if c.IntN(3) == 0 {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "gpu", Value: "true",
			Effect: []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}[c.IntN(2)]})
	}
	if c.IntN(4) == 0 {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "storage.example.com" + nodeclass.AgentTaintSuffix, Effect: corev1.TaintEffectNoSchedule})
	}
}

func (c *chaos) addImage() {
	c.made++
	image := fmt.Sprintf("r%d.test/app%d:1", c.IntN(2), c.made)
	if twin := pick(c, c.Images); c.IntN(4) == 0 {
		image = fmt.Sprintf("r%d.test/app%d:latest", c.IntN(2), c.made)
	} else if bare, found := strings.CutSuffix(cmp.Or(twin, &v1alpha1.PrepullImage{}).Spec.Image, ":latest"); found {
		image = bare
	}
	o := prepulltest.Learned(image, 1+c.IntN(5))
	if slices.ContainsFunc(c.Images, func(i v1alpha1.PrepullImage) bool { return i.Name == o.Name }) {
		return
	}
	o.Status.AlwaysPull = c.IntN(2) == 0
	if c.IntN(6) == 0 {
		o.Status.Starts.HourCount, o.Status.Remembered = 2, true
	}
	p := v1alpha1.Placement{}
	switch c.IntN(7) {
	case 5:
		p.Resources = []string{"example.com/gpu"}
	case 6:
		p.RuntimeClassName = "sandboxed"
	case 0:
		p.NodeSelector = map[string]string{"pool": []string{"a", "b"}[c.IntN(2)]}
	case 1:
		p.NodeSelector = map[string]string{"gpu": "true"}
		p.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
	case 2:
		p.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	case 3:
		p.NodeSelector = map[string]string{fmt.Sprintf("key-%d", c.IntN(3)): "x"}
	}
	o.Status.Placements = []v1alpha1.Placement{p}
	c.Images = append(c.Images, o)
}
