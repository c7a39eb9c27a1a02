package prepull

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxPullSecrets is how many Secrets a status names; the CRD allows no more.
const maxPullSecrets = 8

// demand is what one or more users ask for an image: where it should be, with whose credentials, how urgently and how
// fresh. Without a placement it is nobody's.
type demand struct {
	placements  []v1alpha1.Placement
	pullSecrets []v1alpha1.SecretReference
	priority    int32
	need        need
	autoscaled  bool
	alwaysPull  bool
}

// plus is what the users of d and those of more ask for together. The order in which demands are added does not matter,
// and adding one again changes nothing.
func (d demand) plus(more demand) demand {
	switch {
	case len(d.placements) == 0:
		d.priority, d.need = more.priority, more.need
	case len(more.placements) > 0:
		d.priority, d.need = max(d.priority, more.priority), max(d.need, more.need)
	}
	d.placements = mergePlacements(d.placements, more.placements)
	d.pullSecrets = mergeSecrets(d.pullSecrets, more.pullSecrets)
	d.autoscaled = d.autoscaled || more.autoscaled
	d.alwaysPull = d.alwaysPull || more.alwaysPull
	return d
}

// mergeSecrets is have with more, sorted, each once; of too many the first. Neither is changed. What adds nothing gives
// have.
func mergeSecrets(have, more []v1alpha1.SecretReference) []v1alpha1.SecretReference {
	all := have
	for _, s := range more {
		if !slices.Contains(all, s) {
			all = append(slices.Clip(all), s)
		}
	}
	if len(all) == len(have) {
		return have
	}
	slices.SortFunc(all, compareSecrets)
	return slices.Clip(all[:min(len(all), maxPullSecrets)])
}

func compareSecrets(a, b v1alpha1.SecretReference) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
