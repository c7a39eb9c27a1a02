package inventory

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// Fleet is all nodes and the lists that they have. It keeps of each object what is asked about here: there may be
// thousands of nodes, and each reports fifty images.
type Fleet struct {
	lists    []*list
	machines []*machine
	byName   map[string]*machine
	pods     map[string][]*prepullPod // by node
}

// list is the list of images of a class of nodes, from its DaemonSets: one for each image that a node pulls at the same time.
type list struct {
	class     string
	labels    []string // of the DaemonSets, and of pods that have their lists
	images    []plan.Listed
	placement v1alpha1.Placement

	// daemonSets are their names, and refused is why pods of one cannot be made, in the API server's words; empty if they can.
	daemonSets []string
	refused    string
}

// machine is a node with the sizes of those images that are asked about, by the string that pods write.
type machine struct {
	node      *corev1.Node // without its images
	images    map[string]int64
	condition *corev1.NodeCondition
}

// prepullPod is what a prepull pod tells of its node.
type prepullPod struct {
	name, class, lane, list string
	leaving, gated          bool
	pulls                   []warmth.Pull
	stuck                   string
}

// Nodes are all nodes, those with trouble first.
func (f *Fleet) Nodes() []Node {
	nodes := make([]Node, 0, len(f.machines))
	for _, m := range f.machines {
		pods := f.pods[m.node.Name]
		nodes = append(nodes, nodeOf(m, f.listOf(m, pods), pods))
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(slices.Index(NodeStates, a.State), slices.Index(NodeStates, b.State)), strings.Compare(a.Name, b.Name))
	})
	return nodes
}

// listOf is the list of a node, nil if it has none: that of its newest pod, or else of the DaemonSet that selects it.
func (f *Fleet) listOf(m *machine, pods []*prepullPod) *list {
	for _, l := range f.lists {
		if slices.ContainsFunc(pods, func(p *prepullPod) bool { return !p.leaving && p.class == l.class }) {
			return l
		}
	}
	for _, l := range f.lists {
		if nodeclass.Unfit(m.node, &l.placement) == "" {
			return l
		}
	}
	return nil
}

// notReady says why nobody waits for a node, empty if they do.
func (m *machine) notReady() string {
	switch {
	case nodeclass.PullsNow(m.node):
		return ""
	case m.node.DeletionTimestamp != nil:
		return "it is being deleted"
	case m.node.Spec.Unschedulable:
		return "it is cordoned"
	case slices.ContainsFunc(m.node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeDiskPressure && c.Status == corev1.ConditionTrue
	}):
		return "its disk is full"
	}
	return "it is not ready"
}

// Machine is a node as Kubernetes has it, without its images; nil if there is none of that name.
func (f *Fleet) Machine(name string) *corev1.Node {
	if m := f.byName[name]; m != nil {
		return m.node
	}
	return nil
}

// Has tells whether a node reports an image that the fleet was read for.
func (f *Fleet) Has(node, image string) bool {
	m := f.byName[node]
	if m == nil {
		return false
	}
	_, found := m.images[image]
	return found
}
