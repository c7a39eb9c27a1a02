package inventory

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// NodeState is how far a node is with its list of images.
type NodeState string

// The states of a node, the worst first.
const (
	NodeFailing     NodeState = "Failing"     // it cannot pull an image of its list, or not start the prepull pod
	NodePulling     NodeState = "Pulling"     // images of its list are missing
	NodeNotReady    NodeState = "NotReady"    // nobody waits for it: it is cordoned, not ready, full or leaves
	NodeNotSelected NodeState = "NotSelected" // no image is wanted there, it does not run Linux, or it is a virtual node
	NodeComplete    NodeState = "Complete"    // it has every image of its list
)

// NodeStates are all of them, the worst first.
var NodeStates = []NodeState{NodeFailing, NodePulling, NodeNotReady, NodeNotSelected, NodeComplete}

// Node is one node and its list of images.
type Node struct {
	Name string `json:"name"`

	// Class of nodes whose list it has, empty if it has none.
	Class string `json:"class,omitempty"`

	// State is Failing, Pulling, NotReady, NotSelected or Complete; Message says why it is not complete.
	State   NodeState `json:"state"`
	Message string    `json:"message,omitempty"`

	// ImageCount is the length of the list, and ReadyCount how many of the images are there.
	ImageCount int `json:"imageCount"`
	ReadyCount int `json:"readyCount"`

	// Images are the list, in the order in which they are pulled.
	Images []NodeImage `json:"images,omitempty"`

	// Taints of the node, for those who look for the one that keeps pods off until it is warm.
	Taints []corev1.Taint `json:"taints,omitempty"`

	// Condition is the node's condition kube-prepull.io/ImagesReady, if it has one.
	Condition *corev1.NodeCondition `json:"condition,omitempty"`
}

// NodeImage is an image in the list of a node.
type NodeImage struct {
	// Name is that of the init container that pulls it, and of a learned PrepullImage.
	Name  string `json:"name"`
	Image string `json:"image"`

	// State is Ready, Pulling, Failing or Queued.
	State warmth.PullState `json:"state"`

	// Seconds is how long the prepull pod that the node has now waited for the image, about a second too many: a short time if
	// an earlier one had brought it.
	Seconds float64 `json:"seconds,omitempty"`

	// SizeBytes is what the node reports; 0 if it does not list the image.
	SizeBytes int64 `json:"sizeBytes,omitempty"`

	// Reason and Message say why it fails.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// nodeOf puts together what a node, its pods and the list of its class tell.
func nodeOf(m *machine, l *list, pods []*prepullPod) Node {
	n := Node{Name: m.node.Name, Taints: m.node.Spec.Taints, Condition: m.condition}
	unable := Unable(m.node)
	if l == nil || unable != "" {
		n.State, n.Message = NodeNotSelected, cmp.Or(unable, "no image is wanted there")
		return n
	}
	n.Class, n.ImageCount = l.class, len(l.images)
	pulls, stuck := merge(l, pods)
	failing := 0
	for _, c := range l.images {
		image := NodeImage{Name: c.Name, Image: c.Image, State: warmth.PullQueued}
		if p, found := pulls[c.Name]; found {
			image.State, image.Seconds, image.Reason, image.Message = p.State, p.Took.Seconds(), p.Reason, p.Message
		}
		size, present := m.images[c.Image]
		image.SizeBytes = size
		if present && image.State != warmth.PullFailed {
			image.State = warmth.PullDone
		}
		switch image.State {
		case warmth.PullDone:
			n.ReadyCount++
		case warmth.PullFailed:
			failing++
			n.Message = c.Image + ": " + image.Message
		}
		n.Images = append(n.Images, image)
	}
	switch {
	case m.notReady() != "":
		n.State, n.Message = NodeNotReady, m.notReady()
	case l.refused != "" && !l.hasPod(pods):
		n.State, n.Message = NodeFailing, "its prepull pod is refused: "+l.refused
	case stuck != "":
		n.State, n.Message = NodeFailing, "its prepull pod does not get to its images: "+stuck
	case failing > 0:
		n.State = NodeFailing
	case n.ReadyCount == n.ImageCount && n.ImageCount > 0:
		n.State = NodeComplete
	default:
		n.State, n.Message = NodePulling, n.doing(pods)
	}
	return n
}

// hasPod tells whether one of the pods of a node has the list.
func (l *list) hasPod(pods []*prepullPod) bool {
	return slices.ContainsFunc(pods, func(p *prepullPod) bool { return !p.leaving && slices.Contains(l.labels, p.list) })
}

// Unable says why a node can run no prepull pods, empty if it can.
func Unable(n *corev1.Node) string {
	if n.Labels[corev1.LabelOSStable] != string(corev1.Linux) {
		return "it does not run Linux"
	}
	if by := nodeclass.VirtualBy(n); by != "" {
		return "it is a virtual node, which runs no DaemonSet pods (" + by + ")"
	}
	return ""
}

// doing says what a node does that is not complete.
func (n *Node) doing(pods []*prepullPod) string {
	var active []string
	for _, image := range n.Images {
		if image.State == warmth.PullActive {
			active = append(active, image.Image)
		}
	}
	switch {
	case len(active) > 0:
		return "pulling " + strings.Join(active, ", ")
	case n.ImageCount == 0:
		return "its class begins with an empty list"
	case len(pods) == 0:
		return "its prepull pod has not started"
	case slices.ContainsFunc(pods, func(p *prepullPod) bool { return p.gated && !p.leaving }):
		return "its prepull pod waits for the mirror of the node, or for another node of its zone"
	}
	return "waiting for its turn to get the new list"
}

// merge says how far a node is with the images of a list. What any of its pods has pulled is there; what is under way or
// fails is told by pods that stay, and the one with the current list has the last word.
func merge(l *list, pods []*prepullPod) (pulls map[string]warmth.Pull, stuck string) {
	pulls = map[string]warmth.Pull{}
	stuckIn := map[string]string{} // by lane
	pods = slices.Clone(pods)
	slices.SortStableFunc(pods, func(a, b *prepullPod) int {
		return cmp.Or(cmp.Compare(rank(a, l), rank(b, l)), strings.Compare(a.name, b.name))
	})
	for _, pod := range pods {
		for _, p := range pod.pulls {
			was, known := pulls[p.Name]
			switch {
			case p.State == warmth.PullDone:
				p.Took = max(p.Took, was.Took)
				pulls[p.Name] = p
			case pod.leaving || p.State == warmth.PullQueued && known:
			case was.State != warmth.PullDone || p.State == warmth.PullFailed:
				pulls[p.Name] = p
			}
		}
		if !pod.leaving {
			stuckIn[pod.lane] = pod.stuck
		}
	}
	for _, lane := range slices.Sorted(maps.Keys(stuckIn)) {
		stuck = cmp.Or(stuck, stuckIn[lane])
	}
	return pulls, stuck
}

// rank puts the pod that knows best last.
func rank(p *prepullPod, l *list) int {
	switch {
	case p.leaving:
		return 0
	case !slices.Contains(l.labels, p.list):
		return 1
	}
	return 2
}
