package pulled

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func present(node, image string) Start {
	return Start{Node: node, Image: Image{Name: image, Present: true}}
}

func pull(node, image string, took time.Duration) Start {
	return Start{Node: node, Image: Image{Name: image, Took: took, Waited: 2 * took}}
}

func TestLedger(t *testing.T) {
	t.Parallel()
	const took = 30 * time.Second
	type step struct {
		start Start
		ours  bool
		saved time.Duration
	}
	tests := map[string][]step{
		"the first start after a prepull pod's pull saves what the pull itself took": {
			{pull("n1", "a", took), true, 0}, {present("n1", "a"), false, took},
		},
		"a start after the first one saves nothing": {
			{pull("n1", "a", took), true, 0}, {present("n1", "a"), false, took}, {present("n1", "a"), false, 0},
		},
		"an image that a workload brought saves nothing": {
			{pull("n1", "a", took), false, 0}, {present("n1", "a"), true, 0}, {present("n1", "a"), false, 0},
		},
		"an image that was there before saves nothing": {
			{present("n1", "a"), true, 0}, {present("n1", "a"), false, 0},
		},
		"another node and another image are other places": {
			{pull("n1", "a", took), true, 0}, {present("n2", "a"), false, 0}, {present("n1", "b"), false, 0}, {present("n1", "a"), false, took},
		},
		"what a prepull pod finds there stays unclaimed": {
			{pull("n1", "a", took), true, 0}, {present("n1", "a"), true, 0}, {present("n1", "a"), false, took},
		},
		"a start that pulls again saves nothing, and nor do those after it": {
			{pull("n1", "a", took), true, 0}, {pull("n1", "a", took), false, 0}, {present("n1", "a"), false, 0},
		},
		"an image that is pulled again after it was deleted counts again": {
			{pull("n1", "a", took), true, 0}, {present("n1", "a"), false, took}, {pull("n1", "a", 2*took), true, 0}, {present("n1", "a"), false, 2 * took},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l Ledger
			for i, s := range steps {
				if saved := l.Enter(s.start, s.ours); saved != s.saved {
					t.Errorf("step %d saved %v, want %v", i+1, saved, s.saved)
				}
			}
		})
	}
}

func TestLedgerForgetsTheOldest(t *testing.T) {
	t.Parallel()
	l := Ledger{limit: 10}
	for i := range 95 {
		l.Enter(pull("n", fmt.Sprint(i), time.Second), true)
		if known := len(l.recent) + len(l.older); known > 20 {
			t.Fatalf("%d pulls are known", known)
		}
	}
	for image, want := range map[string]time.Duration{"94": time.Second, "85": time.Second, "79": 0, "0": 0} {
		if saved := l.Enter(present("n", image), false); saved != want {
			t.Errorf("image %s saved %v, want %v", image, saved, want)
		}
	}
}

func TestLedgerNeverSavesMoreThanWasPulled(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		l := Ledger{limit: 1 + r.IntN(5)}
		var pulled, saved time.Duration
		for range 200 {
			s, ours := present(fmt.Sprint(r.IntN(3)), fmt.Sprint(r.IntN(4))), r.IntN(2) == 0
			if s.Present = r.IntN(2) == 0; !s.Present {
				s.Took = time.Duration(r.IntN(100))
			}
			if ours {
				pulled += s.Took
			}
			if saved += l.Enter(s, ours); saved > pulled {
				t.Fatalf("seed %d: %v saved of %v", seed, saved, pulled)
			}
		}
	}
}

func TestSort(t *testing.T) {
	t.Parallel()
	at := func(second int64, version string) Start { return Start{Time: time.Unix(second, 0), Version: version} }
	want := []Start{at(1, "30"), at(2, "9"), at(2, "10"), at(2, "11"), at(3, "1")}
	got := slices.Clone(want)
	slices.Reverse(got)
	Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		version, than string
		after         bool
	}{{"10", "9", true}, {"9", "10", false}, {"9", "9", false}, {"9", "", false}, {"x", "9", false}} {
		if got := at(1, tc.version).After(tc.than); got != tc.after {
			t.Errorf("%q after %q: %v", tc.version, tc.than, got)
		}
	}
}

func TestStartOf(t *testing.T) {
	t.Parallel()
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", ResourceVersion: "7"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "app-1"},
		Reason:         "Pulled", Message: `Container image "app:v1" already present on machine`,
		Source:        corev1.EventSource{Component: "kubelet", Host: "node-1"},
		LastTimestamp: metav1.Unix(60, 0), FirstTimestamp: metav1.Unix(1, 0), Count: 2,
	}
	want := Start{Image: Image{Name: "app:v1", Present: true}, Namespace: "shop", Node: "node-1", Time: metav1.Unix(60, 0).Time, Version: "7"}
	got, ok := StartOf(e)
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("understood: %v (-want +got):\n%s", ok, diff)
	}
	for title, change := range map[string]func(*corev1.Event){
		"other words":          func(e *corev1.Event) { e.Message = "Image volume mounted" },
		"no node that says it": func(e *corev1.Event) { e.Source.Host = "" },
	} {
		other := e.DeepCopy()
		change(other)
		if s, ok := StartOf(other); ok {
			t.Errorf("%s is understood as %+v", title, s)
		}
	}
}
