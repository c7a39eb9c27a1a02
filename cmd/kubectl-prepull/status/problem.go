package status

import (
	"fmt"
	"slices"
	"time"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// Problem is something that somebody should look at.
type Problem struct {
	// Kind is Manager, Node or Image.
	Kind string `json:"kind"`

	// Name of the node, or the image as pods write it; of several with the same problem it is the first, and Count is how
	// many there are.
	Name  string `json:"name,omitempty"`
	Count int    `json:"count"`

	// Message says what is wrong.
	Message string `json:"message"`

	// RetryTime is when a failing image is tried next.
	RetryTime *time.Time `json:"retryTime,omitempty"`
}

// problems are what is wrong, the worst first: without a manager nothing gets better, a node that is stuck gets no image,
// and a failing image harms its own pods only. What has no place comes last.
func problems(f findings) []Problem {
	found := append([]Problem{}, managerProblems(f.manager, f.gated)...) // a list in JSON, an empty one too
	failing := map[string]bool{}
	for i := range f.images {
		failing[f.images[i].Image] = f.images[i].State == inventory.ImageFailing
	}
	found = append(found, together(f.images, func(i *inventory.Image) (string, bool) {
		return i.Message, i.State == inventory.ImagePending && i.Reason == plan.ReasonDaemonSetRefused
	})...)
	found = append(found, nodeProblems(f.nodes, failing)...)
	for i := range f.images {
		if image := &f.images[i]; image.State == inventory.ImageFailing {
			found = append(found, Problem{"Image", image.Image, 1, image.Reason + ": " + image.Message, image.RetryTime})
		}
	}
	if serial := f.hour.serial; len(serial) > 0 {
		found = append(found, Problem{Kind: "Node", Name: serial[0], Count: len(serial), Message: "its kubelet pulls one image after the other (serializeImagePulls), so pullsPerNode makes nothing faster there"})
	}
	return append(found, together(f.images, func(i *inventory.Image) (string, bool) {
		return i.Reason, i.State == inventory.ImageSkipped && !slices.Contains(noProblems, i.Reason)
	})...)
}

func managerProblems(m *Manager, gated int) []Problem {
	message := ""
	switch {
	case m == nil || m.Ready > 0 && m.Ready == m.Desired:
		return nil
	case m.Ready > 0:
		message = fmt.Sprintf("%d of %d managers are ready", m.Ready, m.Desired)
	case m.Desired == 0:
		message = "there is no manager: nothing is learned, and lists stay as they are"
	default:
		message = "no manager is ready: nothing is learned, and lists stay as they are"
	}
	if m.Ready == 0 && gated > 0 {
		message += fmt.Sprintf("; %d nodes keep pods off, which kubectl prepull ungate ends", gated)
	}
	return []Problem{{Kind: "Manager", Count: 1, Message: message}}
}

// nodeProblems are those of nodes which no failing image explains, each once.
func nodeProblems(nodes []inventory.Node, failing map[string]bool) []Problem {
	var found []Problem
	at := map[string]int{}
	for i := range nodes {
		n := &nodes[i]
		if n.State != inventory.NodeFailing || explained(n, failing) {
			continue
		}
		if same, known := at[n.Message]; known {
			found[same].Count++
			continue
		}
		at[n.Message] = len(found)
		found = append(found, Problem{Kind: "Node", Name: n.Name, Count: 1, Message: n.Message})
	}
	return found
}

// explained tells whether a node fails on an image that fails everywhere.
func explained(n *inventory.Node, failing map[string]bool) bool {
	for i := range n.Images {
		if image := &n.Images[i]; image.Reason != "" && failing[image.Image] {
			return true
		}
	}
	return false
}

// noProblems are the reasons for which images have no place that nobody has to do anything about: the configuration leaves them
// out, or nobody uses them.
var noProblems = []string{plan.SkippedExcluded, plan.SkippedTooSmall, plan.SkippedRemembered, plan.SkippedReplaced}

// together are images with a problem, those with the same one once.
func together(images []inventory.Image, problem func(*inventory.Image) (same string, is bool)) []Problem {
	var found []Problem
	at := map[string]int{}
	for i := range images {
		image := &images[i]
		same, is := problem(image)
		if !is {
			continue
		}
		if before, known := at[same]; known {
			found[before].Count++
			continue
		}
		at[same] = len(found)
		found = append(found, Problem{Kind: "Image", Name: image.Image, Count: 1, Message: image.Reason + ": " + image.Message})
	}
	return found
}
