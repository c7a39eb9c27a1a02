package prepull

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// rollTime is how long the nodes of a simulation take until their new pods have got as far as they get.
const rollTime = 3 * time.Second

// simulate reconciles a cluster until a time, with the debounce in between, and returns the number of revisions.
func (s *state) simulate(d *debounce, from, until time.Time, fails func(node, image string) string) int {
	return s.simulateWith(testOptions, d, from, until, fails)
}

func (s *state) simulateWith(o PlanOptions, d *debounce, from, until time.Time, fails func(node, image string) string) int {
	revisions := 0
	for now := from; now.Before(until); {
		p := makePlan(*s, o, now)
		if len(p.move)+len(p.drop) > 0 {
			s.carryOut(plan{move: p.move, drop: p.drop})
			s.runPods(now.Add(time.Second), fails)
			now = now.Add(rollTime)
			continue
		}
		if wait := d.wait(p.reasons, now); wait > 0 {
			if !p.reasons.ordinary {
				p.write, p.remove = nil, nil
				s.carryOut(p)
			}
			now = now.Add(wait)
			continue
		}
		s.carryOut(p)
		if writes := len(p.write) + len(p.remove); writes > 0 {
			revisions += writes
			d.done(now)
			s.runPods(now.Add(time.Second), fails)
			now = now.Add(rollTime)
			continue
		}
		switch {
		case len(p.statuses) > 0:
			now = now.Add(time.Second)
		case p.next.After(now):
			now = p.next
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

func clusterOf(nodes, bad, good int) state {
	s := state{nodes: testNodes(nodes)}
	for i := range bad {
		s.images = append(s.images, learnedObject(fmt.Sprintf("bad%d:1", i), 3))
	}
	for i := range good {
		s.images = append(s.images, learnedObject(fmt.Sprintf("good%d:1", i), 2))
	}
	return s
}

func TestManyBrokenImagesAreFewRevisions(t *testing.T) {
	t.Parallel()
	for _, bad := range []int{1, 20, 100} {
		s := clusterOf(3, bad, 30)
		d := debounce{clocks: clock.Production()}
		for hour := range 6 {
			from := noon.Add(time.Duration(hour) * time.Hour)
			if n := s.simulate(&d, from, from.Add(time.Hour), isBad); n > 40 {
				t.Errorf("%d broken images: %d revisions in hour %d", bad, n, hour)
			}
		}
		for i := range s.images {
			if o := &s.images[i]; strings.Contains(o.Spec.Image, "good") && o.Status.State != stateReady {
				t.Errorf("%d broken images: %s is %s", bad, o.Spec.Image, o.Status.State)
			}
		}
	}
}

func TestThreeBrokenImagesDelayAGoodOneByLittle(t *testing.T) {
	t.Parallel()
	s := clusterOf(2, 3, 1)
	d := debounce{clocks: clock.Production()}
	s.simulate(&d, noon, noon.Add(25*time.Second), isBad)
	if got := s.status(ObjectName("good0:1")).State; got != stateReady {
		t.Errorf("the good image is %s", got)
	}
}

func TestANewImageDoesNotWaitForBrokenOnes(t *testing.T) {
	t.Parallel()
	s := clusterOf(2, 20, 1)
	d := debounce{clocks: clock.Production()}
	later := noon.Add(30 * time.Minute)
	s.simulate(&d, noon, later, isBad)
	s.images = append(s.images, learnedObject("new-good:1", 1))
	s.simulate(&d, later, later.Add(20*time.Second), isBad)
	if got := s.status(ObjectName("new-good:1")).State; got != stateReady {
		t.Errorf("the new image is %s", got)
	}
}

func TestOneBadNodeCostsNoRevision(t *testing.T) {
	t.Parallel()
	s := clusterOf(20, 0, 40)
	d := debounce{clocks: clock.Production()}
	s.simulate(&d, noon, noon.Add(time.Minute), nothingFails)
	badNode := func(node, image string) string {
		if node == "node-007" {
			return image + ": 403 Forbidden denied"
		}
		return ""
	}
	s.runPods(noon.Add(time.Minute), badNode)
	if n := s.simulate(&d, noon.Add(time.Minute), noon.Add(11*time.Minute), badNode); n > 0 {
		t.Errorf("%d revisions", n)
	}
	var failed []string
	for i := range s.images {
		if st := &s.images[i].Status; strings.HasPrefix(st.State, stateFailed) {
			failed = append(failed, st.State+" "+st.Ready)
		}
	}
	if diff := cmp.Diff([]string{"PullFailed: access denied 19/20"}, failed); diff != "" {
		t.Errorf("images that fail (-want +got):\n%s", diff)
	}
}

func TestARegistryThatComesBackNeedsFewRevisions(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(3)}
	for i := range 20 {
		s.images = append(s.images, learnedObject(fmt.Sprintf("r.test/app%d:1", i), 3))
	}
	d := debounce{clocks: clock.Production()}
	back := noon.Add(time.Hour)
	s.simulate(&d, noon, back, func(string, string) string { return "unauthorized" })
	if n := s.simulate(&d, back, back.Add(time.Hour), nothingFails); n > 4 {
		t.Errorf("%d revisions", n)
	}
	for i := range s.images {
		if o := &s.images[i]; o.Status.State != stateReady || o.Status.Retries != nil {
			t.Errorf("%s is %s", o.Spec.Image, o.Status.State)
		}
	}
}

func TestBrokenImagesInAFullListAreFewRevisions(t *testing.T) {
	t.Parallel()
	places, bytes := testOptions, testOptions
	places.MaxImagesPerNode = 10
	bytes.MaxBytesPerNode = "10Gi"
	for full, o := range map[string]PlanOptions{"places": places, "bytes": bytes} {
		s := clusterOf(3, 60, 30)
		for i := range s.images {
			s.images[i].Status.SizeBytes = 1 << 30
		}
		d := debounce{clocks: clock.Production()}
		if n := s.simulateWith(o, &d, noon, noon.Add(15*time.Minute), isBad); n > 20 {
			t.Errorf("full of %s: %d revisions in 15 minutes", full, n)
		}
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	const class = "linux-amd64"
	retry := &v1alpha1.Retry{NodeClass: class}
	for name, tc := range map[string]struct {
		was, is string
		want    reasons
	}{
		"a first list":                          {"", "a b", reasons{ordinary: true}},
		"a new image":                           {"a", "b a", reasons{ordinary: true}},
		"an image that nobody wants any more":   {"a b", "a", reasons{ordinary: true}},
		"something besides the list":            {"a b", "a b", reasons{ordinary: true}},
		"the last image fails and leaves":       {"a X", "a", reasons{failing: true}},
		"a retry takes another one's place":     {"a X", "a Y", reasons{failing: true}},
		"only failing images are left out":      {"X Y", "", reasons{failing: true}},
		"good images wait behind it":            {"X a", "a", reasons{failing: true, urgent: true}},
		"it goes to the end":                    {"X a", "a X", reasons{failing: true, urgent: true}},
		"a new image comes as another one goes": {"a X", "b a", reasons{failing: true, ordinary: true}},
		"a place in a full list is filled":      {"a b X", "c a b", reasons{failing: true}},
		"a full list gets more than was free":   {"a b X", "c d a", reasons{failing: true, ordinary: true}},
		"all at once":                           {"X a", "b a", reasons{failing: true, ordinary: true, urgent: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cp := &classPlan{nodeClass: &nodeClass{}, budget: budget{3, unbounded}, verdicts: map[*candidate]verdict{}}
			for _, image := range []string{"X", "Y"} {
				cp.verdicts[&candidate{name: image}] = verdict{standing: standingOut, retry: retry}
			}
			var current []corev1.Container
			for _, image := range strings.Fields(tc.was) {
				current = append(current, corev1.Container{Name: image})
			}
			for _, image := range strings.Fields(tc.is) {
				cp.list = append(cp.list, entry{candidate: &candidate{name: image}})
			}
			if got := cp.reasons(current); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
