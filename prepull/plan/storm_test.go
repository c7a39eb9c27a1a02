package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// rollTime is how long the nodes of a simulation take until their new pods have got as far as they get.
const rollTime = 3 * time.Second

// simulate reconciles a cluster until a time, with the debounce in between, and returns the number of revisions.
func (s *State) simulate(d *Debounces, from, until time.Time, fails func(node, image string) string) int {
	return s.simulateWith(testOptions, d, from, until, fails)
}

func (s *State) simulateWith(o Options, d *Debounces, from, until time.Time, fails func(node, image string) string) int {
	revisions := 0
	for now := from; now.Before(until); {
		p := Make(*s, o, now)
		if len(p.UpdateInPlace)+len(p.DeleteOrphaned) > 0 {
			s.carryOut(Plan{UpdateInPlace: p.UpdateInPlace, DeleteOrphaned: p.DeleteOrphaned})
			s.runPods(now.Add(time.Second), fails)
			now = now.Add(rollTime)
			continue
		}
		waits := d.Wait(p.Classes, now)
		p.Roll, p.DeleteEmpty = waits.Due(p.Roll), waits.Due(p.DeleteEmpty)
		if len(p.Roll)+len(p.DeleteEmpty) == 0 && d.Gathering(waits) {
			p.Statuses = nil
		}
		s.carryOut(p)
		if written := slices.Concat(p.Roll, p.DeleteEmpty); len(written) > 0 {
			revisions += len(written)
			d.Done(written, now)
			s.runPods(now.Add(time.Second), fails)
			now = now.Add(rollTime)
			continue
		}
		switch {
		case len(waits) > 0:
			now = now.Add(waits.Shortest())
		case len(p.Statuses) > 0:
			now = now.Add(time.Second)
		case p.Next.After(now):
			now = p.Next
		default:
			now = until
		}
	}
	return revisions
}

func isBad(_, image string) string {
	if strings.Contains(image, "bad") {
		return image + ": not found"
	}
	return ""
}

func clusterOf(nodes, bad, good int) State {
	s := State{Nodes: prepulltest.Nodes(nodes)}
	for i := range bad {
		s.Images = append(s.Images, prepulltest.Learned(fmt.Sprintf("bad%d:1", i), 3))
	}
	for i := range good {
		s.Images = append(s.Images, prepulltest.Learned(fmt.Sprintf("good%d:1", i), 2))
	}
	return s
}

func TestManyBrokenImagesAreFewRevisions(t *testing.T) {
	t.Parallel()
	for _, bad := range []int{1, 20, 100} {
		s := clusterOf(3, bad, 30)
		d := Debounces{Clocks: clock.Production()}
		for hour := range 6 {
			from := prepulltest.Noon.Add(time.Duration(hour) * time.Hour)
			if n := s.simulate(&d, from, from.Add(time.Hour), isBad); n > 40 {
				t.Errorf("%d broken images: %d revisions in hour %d", bad, n, hour)
			}
		}
		for i := range s.Images {
			if o := &s.Images[i]; strings.Contains(o.Spec.Image, "good") && o.Status.State != StateReady {
				t.Errorf("%d broken images: %s is %s", bad, o.Spec.Image, o.Status.State)
			}
		}
	}
}

func TestThreeBrokenImagesDelayAGoodOneByLittle(t *testing.T) {
	t.Parallel()
	s := clusterOf(2, 3, 1)
	d := Debounces{Clocks: clock.Production()}
	s.simulate(&d, prepulltest.Noon, prepulltest.Noon.Add(25*time.Second), isBad)
	if got := s.status(workload.ObjectName("good0:1")).State; got != StateReady {
		t.Errorf("the good image is %s", got)
	}
}

func TestANewImageDoesNotWaitForBrokenOnes(t *testing.T) {
	t.Parallel()
	s := clusterOf(2, 20, 1)
	d := Debounces{Clocks: clock.Production()}
	later := prepulltest.Noon.Add(30 * time.Minute)
	s.simulate(&d, prepulltest.Noon, later, isBad)
	s.Images = append(s.Images, prepulltest.Learned("new-good:1", 1))
	s.simulate(&d, later, later.Add(20*time.Second), isBad)
	if got := s.status(workload.ObjectName("new-good:1")).State; got != StateReady {
		t.Errorf("the new image is %s", got)
	}
}

func TestOneBadNodeCostsNoRevision(t *testing.T) {
	t.Parallel()
	s := clusterOf(20, 0, 40)
	d := Debounces{Clocks: clock.Production()}
	s.simulate(&d, prepulltest.Noon, prepulltest.Noon.Add(time.Minute), nothingFails)
	badNode := func(node, image string) string {
		if node == "node-007" {
			return image + ": 403 Forbidden denied"
		}
		return ""
	}
	s.runPods(prepulltest.Noon.Add(time.Minute), badNode)
	if n := s.simulate(&d, prepulltest.Noon.Add(time.Minute), prepulltest.Noon.Add(11*time.Minute), badNode); n > 0 {
		t.Errorf("%d revisions", n)
	}
	var failed []string
	for i := range s.Images {
		if st := &s.Images[i].Status; strings.HasPrefix(st.State, StateFailed) {
			failed = append(failed, st.State+" "+st.Ready)
		}
	}
	if diff := cmp.Diff([]string{"PullFailed: access denied 19/20"}, failed); diff != "" {
		t.Errorf("images that fail (-want +got):\n%s", diff)
	}
}

func TestARegistryThatComesBackNeedsFewRevisions(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(3)}
	for i := range 20 {
		s.Images = append(s.Images, prepulltest.Learned(fmt.Sprintf("r.test/app%d:1", i), 3))
	}
	d := Debounces{Clocks: clock.Production()}
	back := prepulltest.Noon.Add(time.Hour)
	s.simulate(&d, prepulltest.Noon, back, func(string, string) string { return "unauthorized" })
	if n := s.simulate(&d, back, back.Add(time.Hour), nothingFails); n > 4 {
		t.Errorf("%d revisions", n)
	}
	for i := range s.Images {
		if o := &s.Images[i]; o.Status.State != StateReady || o.Status.Retries != nil {
			t.Errorf("%s is %s", o.Spec.Image, o.Status.State)
		}
	}
}

func TestBrokenImagesInAFullListAreFewRevisions(t *testing.T) {
	t.Parallel()
	places, bytes := testOptions, testOptions
	places.MaxImagesPerNode = 10
	bytes.MaxBytesPerNode = "10Gi"
	for full, o := range map[string]Options{"places": places, "bytes": bytes} {
		s := clusterOf(3, 60, 30)
		for i := range s.Images {
			s.Images[i].Status.SizeBytes = 1 << 30
		}
		d := Debounces{Clocks: clock.Production()}
		if n := s.simulateWith(o, &d, prepulltest.Noon, prepulltest.Noon.Add(15*time.Minute), isBad); n > 20 {
			t.Errorf("full of %s: %d revisions in 15 minutes", full, n)
		}
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		was, is, other string // the other lane has that now, and keeps it
		want           reasons
	}{
		"a first list":                          {"", "a b", "", reasons{Ordinary: true}},
		"a new image":                           {"a", "b a", "", reasons{Ordinary: true}},
		"an image that nobody wants any more":   {"a b", "a", "", reasons{Ordinary: true}},
		"something besides the list":            {"a b", "a b", "", reasons{Ordinary: true}},
		"the last image fails and leaves":       {"a X", "a", "", reasons{failing: true}},
		"a retry takes another one's place":     {"a X", "a Y", "", reasons{failing: true}},
		"only failing images are left out":      {"X Y", "", "", reasons{failing: true}},
		"good images wait behind it":            {"X a", "a", "", reasons{failing: true, urgent: true}},
		"it goes to the end":                    {"X a", "a X", "", reasons{failing: true, urgent: true}},
		"a new image comes as another one goes": {"a X", "b a", "", reasons{failing: true, Ordinary: true}},
		"a place in a full list is filled":      {"a b X", "c a b", "", reasons{failing: true}},
		"a full list gets more than was free":   {"a b X", "c d a", "", reasons{failing: true, Ordinary: true}},
		"all at once":                           {"X a", "b a", "", reasons{failing: true, Ordinary: true, urgent: true}},
		"an image moves from a full lane":       {"a b", "a b c", "c", reasons{Ordinary: true}},
		"one that moves takes one place":        {"a b", "c a b", "b", reasons{Ordinary: true}},
		"lanes are full together":               {"a X", "b a", "c", reasons{failing: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cp := &ClassPlan{Class: &nodeclass.Class{}, budget: budget{3, unbounded}, of: map[*Candidate]*ClassImage{}}
			l, other := &lane{number: 1}, &lane{number: 2}
			cp.lanes = []*lane{l, other}
			for lane, names := range map[*lane]string{l: tc.was, other: tc.other} {
				for _, name := range strings.Fields(names) {
					cp.imageNamed(name).listed = true
					lane.current = append(lane.current, Listed{Name: name})
				}
			}
			for _, name := range strings.Fields(tc.is) {
				l.list = append(l.list, entry{Candidate: cp.imageNamed(name).Candidate})
			}
			if got := cp.reasons(l); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// imageNamed is an image of the class; X and Y fail.
func (cp *ClassPlan) imageNamed(name string) *ClassImage {
	for _, image := range cp.Images {
		if image.Name == name {
			return image
		}
	}
	image := &ClassImage{Candidate: &Candidate{Name: name}}
	if strings.Contains("XY", name) {
		image.verdict = verdict{standing: standingOut, retry: &v1alpha1.Retry{NodeClass: "linux-amd64"}}
	}
	cp.Images, cp.of[image.Candidate] = append(cp.Images, image), image
	return image
}
