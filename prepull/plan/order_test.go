package plan

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	e := func(name string, starts float64, size int64) entry {
		return entry{Candidate: &Candidate{Name: name, starts: starts, Size: size}}
	}
	missing := func(e entry) entry { e.missing = true; return e }
	last := func(e entry) entry { e.atEnd = true; return e }
	troubled := func(e entry) entry { e.troubled = true; return e }
	for name, tc := range map[string]struct {
		entries []entry
		current []string
		want    []string
	}{
		"most starts per byte first": {
			[]entry{e("big", 10, 1000), e("small", 10, 10), e("busy", 5000, 1000)}, nil, []string{"busy", "small", "big"},
		},
		"images that the nodes do not have come before those": {
			[]entry{e("there", 1000, 1), missing(e("new", 1, 1000))}, []string{"there"}, []string{"new", "there"},
		},
		"an unknown size is a usual one": {
			[]entry{e("unknown", 10, 0), e("small", 10, 1<<20), e("large", 10, 4<<30)}, nil, []string{"small", "unknown", "large"},
		},
		"the name decides where nothing else does": {
			[]entry{e("b", 0, 0), e("c", 0, 0), e("a", 0, 0)}, nil, []string{"a", "b", "c"},
		},
		"an image that fails is last, even if it is new": {
			[]entry{last(missing(e("bad", 1000, 1))), e("a", 0, 0), missing(e("new", 0, 0))}, nil, []string{"new", "a", "bad"},
		},
		"what holds up a node goes behind the rest of a new set, and not behind what fails": {
			[]entry{troubled(e("a", 9, 1)), last(e("bad", 9, 1)), e("b", 0, 0)}, nil, []string{"b", "a", "bad"},
		},
		"what holds up a node stays where it is in the same set": {
			[]entry{troubled(e("a", 0, 0)), e("b", 0, 0)}, []string{"a", "b"}, []string{"a", "b"},
		},
		"the same set keeps its order": {
			[]entry{e("a", 100, 1), missing(e("b", 0, 0)), e("c", 50, 1)}, []string{"c", "b", "a"}, []string{"c", "b", "a"},
		},
		"in the same set only an image that fails moves": {
			[]entry{e("a", 0, 0), last(e("b", 0, 0)), e("c", 0, 0)}, []string{"b", "c", "a"}, []string{"c", "a", "b"},
		},
		"an image that works again stays where it is": {
			[]entry{e("a", 0, 0), e("b", 9, 1)}, []string{"a", "b"}, []string{"a", "b"},
		},
		"a set with one image less is ordered anew": {
			[]entry{e("a", 1, 1), e("b", 2, 1)}, []string{"a", "b", "c"}, []string{"b", "a"},
		},
		"a set with another image is ordered anew": {
			[]entry{e("a", 1, 1), e("b", 2, 1)}, []string{"a", "c"}, []string{"b", "a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var current []Listed
			for _, name := range tc.current {
				current = append(current, Listed{Name: name})
			}
			for range 5 {
				rand.Shuffle(len(tc.entries), func(i, j int) { tc.entries[i], tc.entries[j] = tc.entries[j], tc.entries[i] })
				var got []string
				for _, e := range order(tc.entries, current) {
					got = append(got, e.Name)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Fatalf("order (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// One node of three cannot pull an image, and nothing new waits behind it there.
func TestAPlanPutsWhatHoldsUpANodeBehindTheRest(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 100), prepulltest.Learned("b:1", 50)}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, func(node, image string) string {
		if node == "node-000" && image == "a:1" {
			return "a:1: not found"
		}
		return ""
	})
	s.Images = append(s.Images, prepulltest.Learned("c:1", 10))
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if diff := cmp.Diff([]string{"c:1", "b:1", "a:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}
