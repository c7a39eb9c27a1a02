package wait

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// selected is how an image stands on the nodes that somebody chose.
type selected struct {
	counts counts

	// unfit is why pods of the image run on none of them, empty if they may run on one.
	unfit string
}

// fleet is what is asked about the nodes: nodes are all with their lists, and machine and has are those of an inventory.Fleet.
type fleet struct {
	*inventory.Fleet
	nodes []inventory.Node
}

// choose returns the nodes that a selector selects.
func (f *fleet) choose(selector labels.Selector) ([]inventory.Node, error) {
	var chosen []inventory.Node
	for _, n := range f.nodes {
		if selector.Matches(labels.Set(f.Machine(n.Name).Labels)) {
			chosen = append(chosen, n)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no node matches --node-selector %s", selector)
	}
	return chosen, nil
}

// selectedOf counts those of the chosen nodes that an image is for, as some objects say. A node that nobody waits for does not
// count.
func (f *fleet) selectedOf(image string, objects []v1alpha1.PrepullImage, chosen []inventory.Node) *selected {
	var placements []v1alpha1.Placement
	for i := range objects {
		if objects[i].Spec.Image == image {
			placements = append(placements, workload.PlacementsOf(&objects[i])...)
		}
	}
	s := &selected{}
	fits := false
	for i := range chosen {
		n := &chosen[i]
		if why := f.unfit(placements, n); why != "" {
			s.unfit = fmt.Sprintf("its pods do not run on %s: %s", n.Name, why)
			continue
		}
		fits = true
		if !nodeclass.PullsNow(f.Machine(n.Name)) {
			continue
		}
		s.counts.desired++
		switch {
		case f.Has(n.Name, image) || stateOn(n, image) == warmth.PullDone:
			s.counts.ready++
		case stateOn(n, image) == warmth.PullFailed:
			s.counts.failed++
		}
	}
	if fits {
		s.unfit = ""
	}
	return s
}

// unfit says why no pod with one of some placements runs on a node.
func (f *fleet) unfit(placements []v1alpha1.Placement, n *inventory.Node) string {
	m := f.Machine(n.Name)
	why := inventory.Unable(m)
	if why != "" {
		return why
	}
	for _, p := range placements {
		if why = nodeclass.Unfit(m, &p); why == "" {
			return ""
		}
	}
	return why
}

// stateOn is how far a node is with an image of its list, empty if the list lacks it.
func stateOn(n *inventory.Node, image string) warmth.PullState {
	for i := range n.Images {
		if workload.SamePull(n.Images[i].Image, image) {
			return n.Images[i].State
		}
	}
	return ""
}

// labelsOf are the labels that a selector asks for; whole is false if it asks for more.
func labelsOf(selector labels.Selector) (asked map[string]string, whole bool) {
	requirements, _ := selector.Requirements()
	whole = true
	for _, r := range requirements {
		values := r.Values().List()
		equals := r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals || r.Operator() == selection.In
		if !equals || len(values) != 1 {
			whole = false
			continue
		}
		if asked == nil {
			asked = map[string]string{}
		}
		asked[r.Key()] = values[0]
	}
	return asked, whole
}
