package prepull

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestHotSet(t *testing.T) {
	t.Parallel()
	image := func(name string, n need, size int64) *candidate {
		return &candidate{name: name, need: n, size: size}
	}
	for name, tc := range map[string]struct {
		chosen    []*candidate
		failing   []string
		want      []string
		oversized int
	}{
		"nothing is chosen": {},
		"what is used is in it, what is optional is not": {
			chosen: []*candidate{image("used", usual, 10), image("extra", optional, 10)}, want: []string{"used"},
		},
		"what fails holds nobody up, not even if it is required": {
			chosen: []*candidate{image("a", usual, 10), image("b", required, 10)}, failing: []string{"a", "b"},
		},
		"the best fit in, and a small one behind a large one": {
			chosen: []*candidate{image("a", usual, 60), image("b", usual, 50), image("c", usual, 40)},
			want:   []string{"a", "c"}, oversized: 1,
		},
		"one that is larger than all room": {
			chosen: []*candidate{image("huge", usual, 50e9), image("a", usual, 100)}, want: []string{"a"}, oversized: 1,
		},
		"a required one counts whatever its size, and leaves no room": {
			chosen: []*candidate{image("a", usual, 10), image("huge", required, 50e9)}, want: []string{"huge"}, oversized: 1,
		},
		"one of unknown size counts as a usual one": {
			chosen: []*candidate{image("new", usual, 0)}, oversized: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failing := map[*candidate]bool{}
			for _, c := range tc.chosen {
				failing[c] = slices.Contains(tc.failing, c.name)
			}
			hot, oversized := hotSet(tc.chosen, failing, 100)
			var got []string
			for c := range maps.Keys(hot) {
				got = append(got, c.name)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" || oversized != tc.oversized {
				t.Errorf("%d are too large, want %d; hot (-want +got):\n%s", oversized, tc.oversized, diff)
			}
		})
	}
}

func TestHowMuchAnImageIsNeeded(t *testing.T) {
	t.Parallel()
	used := func(required *bool) v1alpha1.PrepullImage {
		o := learnedObject("a:1", 1)
		o.Status.UserCount, o.Status.Required = 1, required
		return o
	}
	declared := func(annotation string) v1alpha1.PrepullImage {
		o := declaredObject("declared", "a:1")
		o.Annotations = map[string]string{v1alpha1.AnnotationRequired: annotation}
		return o
	}
	for name, tc := range map[string]struct {
		objects []v1alpha1.PrepullImage
		want    need
	}{
		"an image in use":                            {[]v1alpha1.PrepullImage{used(nil)}, usual},
		"one that its users require":                 {[]v1alpha1.PrepullImage{used(ptr.To(true))}, required},
		"one that all its users can do without":      {[]v1alpha1.PrepullImage{used(ptr.To(false))}, optional},
		"one that nothing uses any more":             {[]v1alpha1.PrepullImage{learnedObject("a:1", 1)}, optional},
		"a declared one":                             {[]v1alpha1.PrepullImage{declared("")}, usual},
		"one that is declared as optional":           {[]v1alpha1.PrepullImage{declared("false")}, optional},
		"one that is declared as required":           {[]v1alpha1.PrepullImage{declared("true")}, required},
		"one that is declared as optional, and used": {[]v1alpha1.PrepullImage{declared("false"), used(nil)}, usual},
		"a word that means nothing":                  {[]v1alpha1.PrepullImage{declared("perhaps")}, usual},
	} {
		found, _ := candidates(tc.objects, noon)
		if len(found) != 1 || found[0].need != tc.want {
			t.Errorf("%s: %v, want %v", name, found[0].need, tc.want)
		}
	}
}

func TestNeedsOfSeveralUsers(t *testing.T) {
	t.Parallel()
	of := func(n need) demand { return demand{placements: []v1alpha1.Placement{{}}, need: n} }
	for name, tc := range map[string]struct{ a, b, want need }{
		"one requires it":             {optional, required, required},
		"one says nothing":            {optional, usual, usual},
		"all can do without":          {optional, optional, optional},
		"nobody says anything":        {usual, usual, usual},
		"one requires it, one is mum": {usual, required, required},
	} {
		for _, got := range []demand{of(tc.a).plus(of(tc.b)), of(tc.b).plus(of(tc.a)), demand{}.plus(of(tc.a)).plus(of(tc.b)), of(tc.a).plus(demand{}).plus(of(tc.b))} {
			if got.need != tc.want {
				t.Errorf("%s: %v, want %v", name, got.need, tc.want)
			}
		}
	}
	for _, n := range []need{optional, usual, required} {
		if got := needIn(n.pointer()); got != n {
			t.Errorf("%v is read back as %v", n, got)
		}
	}
}
