package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Absent is an image that is known and not to be pulled now.
type Absent struct{ Name, Why string }

// Wanted returns the images that at least one of the nodes should have, or that any node should if there are none given;
// those with the most starts per byte first. Their placements are without RuntimeClasses. If they take more than maxBytes on a node (0 for no limit), those that the
// cluster would choose in a budget of that size are left. Absent are those left out, and why.
func Wanted(objects []v1alpha1.PrepullImage, nodes []corev1.Node, classes nodeclass.RuntimeClasses, maxBytes int64, now time.Time) ([]workload.Image, []Absent) {
	found, invalid := candidates(objects, now)
	var absent []Absent
	for i := range objects {
		if why, ok := invalid[objects[i].Name]; ok {
			absent = append(absent, Absent{objects[i].Spec.Image, why})
		}
	}
	var able []*ClassImage
	for _, c := range found {
		c.resolve(classes)
		if !c.useOn(nodes) {
			continue
		}
		if why := c.whyAbsent(len(nodes) > 0); why != "" {
			absent = append(absent, Absent{c.image, why})
			continue
		}
		able = append(able, &ClassImage{Candidate: c})
	}
	if maxBytes > 0 {
		chosen, left, over := choose(able, budget{images: len(able), bytes: maxBytes})
		for i, s := range over {
			absent = append(absent, Absent{left[i].image, strings.ReplaceAll(s.why, "maxBytesPerNode", "--max-bytes")})
		}
		able = chosen
	}
	slices.SortFunc(able, func(a, b *ClassImage) int {
		return cmp.Or(cmp.Compare(b.startsPerByte(), a.startsPerByte()), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(absent, func(a, b Absent) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Why, b.Why)) })
	images := make([]workload.Image, 0, len(able))
	for _, c := range able {
		images = append(images, workload.Image{Name: c.image, Placements: workload.MergePlacements(nil, c.placements), PullSecrets: c.PullSecrets})
	}
	return images, absent
}

// useOn tells whether a pod that uses the image may start on one of the nodes.
func (c *Candidate) useOn(nodes []corev1.Node) bool {
	if len(nodes) == 0 || len(c.placements) == 0 {
		return true
	}
	return slices.ContainsFunc(c.placements, func(p v1alpha1.Placement) bool {
		ready := nodeclass.NewPlacement(&p)
		return slices.ContainsFunc(nodes, func(n corev1.Node) bool { return nodeclass.Fits(&n, ready) })
	})
}

// whyAbsent is why no node gets the image now, in the words of its status; empty if nodes do, or nobody has decided yet. That
// there is no node for it is no reason where it is useful on one that is yet to come.
func (c *Candidate) whyAbsent(useful bool) string {
	for _, o := range c.objects {
		for _, condition := range o.Status.Conditions {
			skipped := condition.Type == v1alpha1.ConditionSelected && condition.Status == metav1.ConditionFalse &&
				!(useful && condition.Reason == skippedNoNodes)
			failed := condition.Type == v1alpha1.ConditionPullFailed && condition.Status == metav1.ConditionTrue
			if skipped || failed {
				return condition.Message
			}
		}
	}
	return ""
}
