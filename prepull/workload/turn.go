package workload

import (
	"cmp"
	"slices"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// InTurn are pull secrets in the order in which they are used where there is room for some: each namespace in turn has the next
// of its own, in the order in which they are given. So no namespace takes the room of another one.
func InTurn(secrets []v1alpha1.SecretReference) []v1alpha1.SecretReference {
	rank := make(map[v1alpha1.SecretReference]int, len(secrets))
	given := map[string]int{}
	for _, s := range secrets {
		rank[s] = given[s.Namespace]
		given[s.Namespace]++
	}
	return slices.SortedStableFunc(slices.Values(secrets), func(a, b v1alpha1.SecretReference) int {
		return cmp.Or(cmp.Compare(rank[a], rank[b]), cmp.Compare(a.Namespace, b.Namespace))
	})
}
