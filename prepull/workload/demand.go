package workload

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// MaxPullSecrets is how many Secrets a status names; the CRD allows no more.
const MaxPullSecrets = 32

// Demand is what one or more users ask for an image: where it should be, with whose credentials, how urgently and how
// fresh. Without a placement it is nobody's.
type Demand struct {
	Placements  []v1alpha1.Placement
	PullSecrets []v1alpha1.SecretReference
	Priority    int32
	Need        Need
	Autoscaled  bool
	AlwaysPull  bool
}

// Plus is what the users of d and those of more ask for together. The order in which demands are added does not matter,
// and adding one again changes nothing.
func (d Demand) Plus(more Demand) Demand {
	switch {
	case len(d.Placements) == 0:
		d.Priority, d.Need = more.Priority, more.Need
	case len(more.Placements) > 0:
		d.Priority, d.Need = max(d.Priority, more.Priority), max(d.Need, more.Need)
	}
	d.Placements = MergePlacements(d.Placements, more.Placements)
	d.PullSecrets = mergeSecrets(d.PullSecrets, more.PullSecrets)
	d.Autoscaled = d.Autoscaled || more.Autoscaled
	d.AlwaysPull = d.AlwaysPull || more.AlwaysPull
	return d
}

// mergeSecrets is have with more, sorted, each once; of too many those whose turn is first (InTurn). Neither is changed. What adds
// nothing gives have. What is left out of a part would be left out of the whole, so the order of merging does not matter.
func mergeSecrets(have, more []v1alpha1.SecretReference) []v1alpha1.SecretReference {
	all := slices.SortedFunc(slices.Values(slices.Concat(have, more)), CompareSecrets)
	all = slices.Compact(all)
	all = slices.Clip(InTurn(all)[:min(len(all), MaxPullSecrets)])
	slices.SortFunc(all, CompareSecrets)
	if slices.Equal(all, have) {
		return have
	}
	return all
}

func CompareSecrets(a, b v1alpha1.SecretReference) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
