package plan

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestHotSet(t *testing.T) {
	t.Parallel()
	image := func(name string, n workload.Need, size int64) *Candidate {
		return &Candidate{Name: name, need: n, Size: size}
	}
	for name, tc := range map[string]struct {
		chosen    []*Candidate
		failing   []string
		want      []string
		oversized int
	}{
		"nothing is chosen": {},
		"what is used is in it, what is optional is not": {
			chosen: []*Candidate{image("used", workload.Usual, 10), image("extra", workload.Optional, 10)}, want: []string{"used"},
		},
		"what fails holds nobody up, not even if it is required": {
			chosen: []*Candidate{image("a", workload.Usual, 10), image("b", workload.Required, 10)}, failing: []string{"a", "b"},
		},
		"the best fit in, and a small one behind a large one": {
			chosen: []*Candidate{image("a", workload.Usual, 60), image("b", workload.Usual, 50), image("c", workload.Usual, 40)},
			want:   []string{"a", "c"}, oversized: 1,
		},
		"one that is larger than all room": {
			chosen: []*Candidate{image("huge", workload.Usual, 50e9), image("a", workload.Usual, 100)}, want: []string{"a"}, oversized: 1,
		},
		"a required one counts whatever its size, and leaves no room": {
			chosen: []*Candidate{image("a", workload.Usual, 10), image("huge", workload.Required, 50e9)}, want: []string{"huge"}, oversized: 1,
		},
		"one of unknown size counts as a usual one": {
			chosen: []*Candidate{image("new", workload.Usual, 0)}, oversized: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failing := map[*Candidate]bool{}
			for _, c := range tc.chosen {
				failing[c] = slices.Contains(tc.failing, c.Name)
			}
			rows := rowsOf(tc.chosen, nil, failing)
			oversized := markHot(rows, 100)
			var got []string
			for _, row := range rows {
				if row.hot {
					got = append(got, row.Name)
				}
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
		o := prepulltest.Learned("a:1", 1)
		o.Status.UserCount, o.Status.Required = 1, required
		return o
	}
	declared := func(annotation string) v1alpha1.PrepullImage {
		o := prepulltest.Declared("declared", "a:1")
		o.Annotations = map[string]string{v1alpha1.AnnotationRequired: annotation}
		return o
	}
	for name, tc := range map[string]struct {
		objects []v1alpha1.PrepullImage
		want    workload.Need
	}{
		"an image in use":                            {[]v1alpha1.PrepullImage{used(nil)}, workload.Usual},
		"one that its users require":                 {[]v1alpha1.PrepullImage{used(ptr.To(true))}, workload.Required},
		"one that all its users can do without":      {[]v1alpha1.PrepullImage{used(ptr.To(false))}, workload.Optional},
		"one that nothing uses any more":             {[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}, workload.Optional},
		"a declared one":                             {[]v1alpha1.PrepullImage{declared("")}, workload.Usual},
		"one that is declared as optional":           {[]v1alpha1.PrepullImage{declared("false")}, workload.Optional},
		"one that is declared as required":           {[]v1alpha1.PrepullImage{declared("true")}, workload.Required},
		"one that is declared as optional, and used": {[]v1alpha1.PrepullImage{declared("false"), used(nil)}, workload.Usual},
		"a word that means nothing":                  {[]v1alpha1.PrepullImage{declared("perhaps")}, workload.Usual},
	} {
		found, _ := candidates(tc.objects, prepulltest.Noon)
		if len(found) != 1 || found[0].need != tc.want {
			t.Errorf("%s: %v, want %v", name, found[0].need, tc.want)
		}
	}
}

func TestNeedsOfSeveralUsers(t *testing.T) {
	t.Parallel()
	of := func(n workload.Need) workload.Demand {
		return workload.Demand{Placements: []v1alpha1.Placement{{}}, Need: n}
	}
	for name, tc := range map[string]struct{ a, b, want workload.Need }{
		"one requires it":             {workload.Optional, workload.Required, workload.Required},
		"one says nothing":            {workload.Optional, workload.Usual, workload.Usual},
		"all can do without":          {workload.Optional, workload.Optional, workload.Optional},
		"nobody says anything":        {workload.Usual, workload.Usual, workload.Usual},
		"one requires it, one is mum": {workload.Usual, workload.Required, workload.Required},
	} {
		for _, got := range []workload.Demand{of(tc.a).Plus(of(tc.b)), of(tc.b).Plus(of(tc.a)), workload.Demand{}.Plus(of(tc.a)).Plus(of(tc.b)), of(tc.a).Plus(workload.Demand{}).Plus(of(tc.b))} {
			if got.Need != tc.want {
				t.Errorf("%s: %v, want %v", name, got.Need, tc.want)
			}
		}
	}
	for _, n := range []workload.Need{workload.Optional, workload.Usual, workload.Required} {
		if got := workload.NeedIn(n.Pointer()); got != n {
			t.Errorf("%v is read back as %v", n, got)
		}
	}
}
