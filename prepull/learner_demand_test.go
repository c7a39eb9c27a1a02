package prepull

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// onGPUs is what a workload asks for that runs on nodes with a GPU.
var onGPUs = demand{
	placements:  []v1alpha1.Placement{{NodeSelector: map[string]string{"gpu": "true"}}},
	pullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "registry"}},
	priority:    7,
	need:        required,
	alwaysPull:  true,
}

// free is where a workload may run that says nothing about it.
var free = []v1alpha1.Placement{{}}

func TestDemandsAddUp(t *testing.T) {
	t.Parallel()
	of := func(priority int32) demand { return demand{placements: free, priority: priority} }
	secrets := func(from, to int) demand {
		var names []string
		for i := from; i < to; i++ {
			names = append(names, fmt.Sprintf("s-%02d", i))
		}
		return demand{placements: free, pullSecrets: secretsIn("shop", names)}
	}
	elsewhere := demand{placements: free, pullSecrets: []v1alpha1.SecretReference{{Namespace: "a", Name: "z"}}}
	first := secrets(0, 7)
	first.pullSecrets = append([]v1alpha1.SecretReference{{Namespace: "a", Name: "z"}}, first.pullSecrets...)

	for name, test := range map[string]struct{ a, b, want demand }{
		"nobody's and one":                {demand{}, onGPUs, onGPUs},
		"one twice":                       {onGPUs, onGPUs, onGPUs},
		"the higher priority":             {of(2), of(3), of(3)},
		"a low priority alone stays low":  {demand{}, of(-3), of(-3)},
		"none is higher than a low one":   {of(0), of(-3), of(0)},
		"secrets change no priority":      {of(-3), demand{}, of(-3)},
		"as many secrets as may be":       {secrets(4, 8), secrets(0, 4), secrets(0, 8)},
		"the first of too many":           {secrets(4, 12), secrets(0, 4), secrets(0, 8)},
		"the first of several namespaces": {secrets(0, 8), elsewhere, first},
		"scaled by load": {
			demand{placements: free, autoscaled: true}, demand{placements: free, alwaysPull: true},
			demand{placements: free, autoscaled: true, alwaysPull: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, got := range []demand{test.a.plus(test.b), test.b.plus(test.a), test.a.plus(test.b).plus(test.a)} {
				if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(demand{})); diff != "" {
					t.Errorf("together (-want +got):\n%s", diff)
				}
			}
		})
	}
}
