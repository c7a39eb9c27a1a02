package warmth

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// seen is what a warmth says about one image, for comparison.
type seen struct {
	Ran              map[string]time.Duration
	Present, Pulling []string
	Failed           map[string]string
	Size             int64
}

func seenOf(w *Image) seen {
	s := seen{Pulling: sortedKeys(w.Pulling), Size: w.Size}
	for _, node := range slices.Sorted(maps.Keys(w.At)) {
		if took, ran := w.Pulled(node); ran {
			Put(&s.Ran, node, took)
		}
		if w.Lists(node) {
			s.Present = append(s.Present, node)
		}
	}
	for node, f := range w.Failed {
		if s.Failed == nil {
			s.Failed = map[string]string{}
		}
		s.Failed[node] = f.Reason
	}
	return s
}

func sortedKeys(m map[string]bool) []string {
	return slices.Sorted(maps.Keys(m))
}

// namedImages are images as observe looks for them.
func namedImages(t *testing.T, images ...string) []ImageName {
	t.Helper()
	var named []ImageName
	for _, image := range images {
		canonical, err := workload.CanonicalImage(image)
		if err != nil {
			t.Fatal(err)
		}
		named = append(named, ImageName{Name: workload.ObjectName(image), Canonical: canonical})
	}
	return named
}

func pointers(nodes []corev1.Node) []*corev1.Node {
	all := make([]*corev1.Node, len(nodes))
	for i := range nodes {
		all[i] = &nodes[i]
	}
	return all
}

func TestObserve(t *testing.T) {
	t.Parallel()
	a, b := workload.ObjectName("a:1"), workload.ObjectName("b:1")
	const pulling = "PodInitializing"
	leaving := prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Waits(a, "ErrImagePull", "not found"))
	leaving.DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon}
	now := prepulltest.Noon.Add(10 * time.Minute)
	for name, tc := range map[string]struct {
		pods []*corev1.Pod
		a, b seen
	}{
		"no pods tell nothing": {nil, seen{}, seen{}},
		"an init container that ended well proves its image, and the gap before it is the pull": {
			[]*corev1.Pod{prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 31, 32), prepulltest.Waits(b, pulling, ""))},
			seen{Ran: map[string]time.Duration{"node-000": 30 * time.Second}},
			seen{Pulling: []string{"node-000"}},
		},
		"only the first that is not done is being pulled": {
			[]*corev1.Pod{prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Waits(a, pulling, ""), prepulltest.Waits(b, pulling, ""))},
			seen{Pulling: []string{"node-000"}}, seen{},
		},
		"an image that fails holds up those behind it": {
			[]*corev1.Pod{prepulltest.Pod("node-001", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Waits(b, "ErrImagePull", "x: not found"), prepulltest.Waits(a, pulling, ""))},
			seen{}, seen{Failed: map[string]string{"node-001": "NotFound"}},
		},
		"the old pod of a node counts beside the new one": {
			[]*corev1.Pod{
				prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 2, 3)),
				prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 4, 5), prepulltest.Waits(b, pulling, "")),
			},
			seen{Ran: map[string]time.Duration{"node-000": time.Second}},
			seen{Pulling: []string{"node-000"}},
		},
		"a pod that is being deleted fails no more": {[]*corev1.Pod{leaving}, seen{}, seen{}},
		"an image that nobody asks for any more is passed over": {
			[]*corev1.Pod{prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done("gone", 2, 3), prepulltest.Done(b, 9, 10))},
			seen{}, seen{Ran: map[string]time.Duration{"node-000": 6 * time.Second}},
		},
		"a pod on a node that does not count is passed over": {
			[]*corev1.Pod{prepulltest.Pod("elsewhere", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 2, 3))}, seen{}, seen{},
		},
		"a pull that took too long while others wait has failed": {
			[]*corev1.Pod{prepulltest.Pod("node-000", prepulltest.Noon.Add(-10*time.Minute), prepulltest.Done("install", -600, -300), prepulltest.Waits(a, pulling, ""), prepulltest.Waits(b, pulling, ""))},
			seen{Failed: map[string]string{"node-000": "DeadlineExceeded"}}, seen{},
		},
		"the last image may take as long as it likes": {
			[]*corev1.Pod{prepulltest.Pod("node-000", prepulltest.Noon.Add(-10*time.Minute), prepulltest.Done("install", -600, -301), prepulltest.Done(a, -301, -300), prepulltest.Waits(b, pulling, ""))},
			seen{Ran: map[string]time.Duration{"node-000": 0}},
			seen{Pulling: []string{"node-000"}},
		},
		"a clock that went back took no time": {
			[]*corev1.Pod{prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 10), prepulltest.Done(a, 5, 6))},
			seen{Ran: map[string]time.Duration{"node-000": 0}}, seen{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			images := namedImages(t, "a:1", "b:1")
			w := Observe(pointers(prepulltest.Nodes(2)), images, tc.pods, 15*time.Minute, now)
			if diff := cmp.Diff(tc.a, seenOf(w.Images[a])); diff != "" {
				t.Errorf("image a (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.b, seenOf(w.Images[b])); diff != "" {
				t.Errorf("image b (-want +got):\n%s", diff)
			}
			if len(w.Broken) > 0 {
				t.Errorf("broken: %v", w.Broken)
			}
		})
	}
}

func TestSomebodyLooksAgainAtTheFirstDeadline(t *testing.T) {
	t.Parallel()
	a, b := workload.ObjectName("a:1"), workload.ObjectName("b:1")
	images := namedImages(t, "a:1", "b:1")
	pods := []*corev1.Pod{
		prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 20), prepulltest.Waits(a, "PodInitializing", ""), prepulltest.Waits(b, "PodInitializing", "")),
		prepulltest.Pod("node-001", prepulltest.Noon, prepulltest.Done("install", 0, 10), prepulltest.Waits(a, "PodInitializing", ""), prepulltest.Waits(b, "PodInitializing", "")),
	}
	w := Observe(pointers(prepulltest.Nodes(2)), images, pods, time.Minute, prepulltest.Noon.Add(30*time.Second))
	if want := prepulltest.Noon.Add(70 * time.Second); !w.Next.Equal(want) {
		t.Errorf("next look at %v, want %v", w.Next, want)
	}
}

// Whatever the clock of a node says, it is the time that passed which counts.
func TestTheDeadlineOfAPullDoesNotDependOnTheClockOfTheNode(t *testing.T) {
	t.Parallel()
	a, b := workload.ObjectName("a:1"), workload.ObjectName("b:1")
	images := namedImages(t, "a:1", "b:1")
	for name, off := range map[string]int{"right": 0, "an hour behind": -3600, "an hour ahead": 3600} {
		pod := prepulltest.Pod("node-000", prepulltest.Noon.Add(-time.Minute), prepulltest.Done("install", off+20, off+30), prepulltest.Waits(a, "PodInitializing", ""), prepulltest.Waits(b, "PodInitializing", ""))
		pod.Status.StartTime = &metav1.Time{Time: prepulltest.Noon.Add(time.Duration(off+10) * time.Second)}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(prepulltest.Noon.Add(10 * time.Second))}}
		nodes := pointers(prepulltest.Nodes(1))
		w := Observe(nodes, images, []*corev1.Pod{pod}, time.Minute, prepulltest.Noon.Add(60*time.Second))
		if want := prepulltest.Noon.Add(90 * time.Second); len(w.Images[a].Failed) > 0 || !w.Next.Equal(want) {
			t.Errorf("a clock that is %s: failed %v, next look at %v, want %v", name, w.Images[a].Failed, w.Next, want)
		}
		if w := Observe(nodes, images, []*corev1.Pod{pod}, time.Minute, prepulltest.Noon.Add(90*time.Second)); len(w.Images[a].Failed) != 1 {
			t.Errorf("a clock that is %s: the pull may take for ever", name)
		}
	}
}

func TestANodeTellsWhatItHas(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	images := namedImages(t, "nginx", "docker.io/library/nginx:latest", "r.test/a@"+digest)
	nodes := prepulltest.Nodes(2)
	nodes[0].Status.Images = []corev1.ContainerImage{
		{Names: []string{"docker.io/library/nginx@sha256:" + strings.Repeat("b", 64), "docker.io/library/nginx:latest"}, SizeBytes: 70},
		{Names: []string{"r.test/a@" + digest}, SizeBytes: 20},
	}
	nodes[1].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/nginx:latest"}, SizeBytes: 80}}
	w := Observe(pointers(nodes), images, nil, time.Minute, prepulltest.Noon)
	for image, want := range map[string]seen{
		"nginx":                          {Present: []string{"node-000", "node-001"}, Size: 80},
		"docker.io/library/nginx:latest": {Present: []string{"node-000", "node-001"}, Size: 80},
		"r.test/a@" + digest:             {Present: []string{"node-000"}, Size: 20},
	} {
		if diff := cmp.Diff(want, seenOf(w.Images[workload.ObjectName(image)])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", image, diff)
		}
	}
}

func TestAPodThatDoesNotGetToItsImagesBlamesNone(t *testing.T) {
	t.Parallel()
	a := workload.ObjectName("a:1")
	images := namedImages(t, "a:1")
	pod := prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Waits("install", "ErrImagePull", "noop: not found"), prepulltest.Waits(a, "PodInitializing", ""))
	w := Observe(pointers(prepulltest.Nodes(1)), images, []*corev1.Pod{pod}, time.Minute, prepulltest.Noon)
	if f, broken := w.Broken["node-000"]; !broken || f.Message != "noop: not found" {
		t.Errorf("broken: %v", w.Broken)
	}
	if diff := cmp.Diff(seen{}, seenOf(w.Images[a])); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
}
