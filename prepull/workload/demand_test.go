package workload

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// onGPUs is what a workload asks for that runs on nodes with a GPU.
var onGPUs = Demand{
	Placements:  []v1alpha1.Placement{{NodeSelector: map[string]string{"gpu": "true"}}},
	PullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "registry"}},
	Priority:    7,
	Need:        Required,
	AlwaysPull:  true,
}

// free is where a workload may run that says nothing about it.
var free = []v1alpha1.Placement{{}}

func TestDemandsAddUp(t *testing.T) {
	t.Parallel()
	of := func(priority int32) Demand { return Demand{Placements: free, Priority: priority} }
	secrets := func(from, to int) Demand {
		var names []string
		for i := from; i < to; i++ {
			names = append(names, fmt.Sprintf("s-%02d", i))
		}
		return Demand{Placements: free, PullSecrets: SecretsIn("shop", names)}
	}
	elsewhere := Demand{Placements: free, PullSecrets: []v1alpha1.SecretReference{{Namespace: "a", Name: "z"}}}
	shared := secrets(0, MaxPullSecrets-1)
	shared.PullSecrets = append([]v1alpha1.SecretReference{{Namespace: "a", Name: "z"}}, shared.PullSecrets...)

	for name, test := range map[string]struct{ a, b, want Demand }{
		"nobody's and one":               {Demand{}, onGPUs, onGPUs},
		"one twice":                      {onGPUs, onGPUs, onGPUs},
		"the higher priority":            {of(2), of(3), of(3)},
		"a low priority alone stays low": {Demand{}, of(-3), of(-3)},
		"none is higher than a low one":  {of(0), of(-3), of(0)},
		"secrets change no priority":     {of(-3), Demand{}, of(-3)},
		"as many secrets as may be":      {secrets(9, 32), secrets(0, 9), secrets(0, 32)},
		"the first of too many":          {secrets(9, 40), secrets(0, 9), secrets(0, 32)},
		"those of all namespaces":        {secrets(0, 32), elsewhere, shared},
		"scaled by load": {
			Demand{Placements: free, Autoscaled: true}, Demand{Placements: free, AlwaysPull: true},
			Demand{Placements: free, Autoscaled: true, AlwaysPull: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, got := range []Demand{test.a.Plus(test.b), test.b.Plus(test.a), test.a.Plus(test.b).Plus(test.a)} {
				if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(Demand{})); diff != "" {
					t.Errorf("together (-want +got):\n%s", diff)
				}
			}
		})
	}
}
