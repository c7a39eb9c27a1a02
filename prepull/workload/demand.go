package workload

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// MaxPullSecrets is how many Secrets a status names; the CRD allows no more.
const MaxPullSecrets = 8

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
	slices.SortFunc(all, CompareSecrets)
	return slices.Clip(all[:min(len(all), MaxPullSecrets)])
}

func CompareSecrets(a, b v1alpha1.SecretReference) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
