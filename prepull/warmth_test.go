package prepull

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seen is what a warmth says about one image, for comparison.
type seen struct {
	Ran              map[string]time.Duration
	Present, Pulling []string
	Failed           map[string]string
	Size             int64
}

func seenOf(w *imageWarmth) seen {
	s := seen{Pulling: sortedKeys(w.pulling), Size: w.size}
	for _, node := range slices.Sorted(maps.Keys(w.at)) {
		if took, ran := w.pulled(node); ran {
			put(&s.Ran, node, took)
		}
		if w.lists(node) {
			s.Present = append(s.Present, node)
		}
	}
	for node, f := range w.failed {
		if s.Failed == nil {
			s.Failed = map[string]string{}
		}
		s.Failed[node] = f.reason
	}
	return s
}

func sortedKeys(m map[string]bool) []string {
	return slices.Sorted(maps.Keys(m))
}

// namedImages are images as observe looks for them.
func namedImages(t *testing.T, images ...string) []observedImage {
	t.Helper()
	var named []observedImage
	for _, image := range images {
		canonical, err := CanonicalImage(image)
		if err != nil {
			t.Fatal(err)
		}
		named = append(named, observedImage{ObjectName(image), canonical})
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
	a, b := ObjectName("a:1"), ObjectName("b:1")
	const pulling = "PodInitializing"
	leaving := testPod("node-000", noon, done("install", 0, 1), waits(a, "ErrImagePull", "not found"))
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	now := noon.Add(10 * time.Minute)
	for name, tc := range map[string]struct {
		pods []*corev1.Pod
		a, b seen
	}{
		"no pods tell nothing": {nil, seen{}, seen{}},
		"an init container that ended well proves its image, and the gap before it is the pull": {
			[]*corev1.Pod{testPod("node-000", noon, done("install", 0, 1), done(a, 31, 32), waits(b, pulling, ""))},
			seen{Ran: map[string]time.Duration{"node-000": 30 * time.Second}},
			seen{Pulling: []string{"node-000"}},
		},
		"only the first that is not done is being pulled": {
			[]*corev1.Pod{testPod("node-000", noon, done("install", 0, 1), waits(a, pulling, ""), waits(b, pulling, ""))},
			seen{Pulling: []string{"node-000"}}, seen{},
		},
		"an image that fails holds up those behind it": {
			[]*corev1.Pod{testPod("node-001", noon, done("install", 0, 1), waits(b, "ErrImagePull", "x: not found"), waits(a, pulling, ""))},
			seen{}, seen{Failed: map[string]string{"node-001": "NotFound"}},
		},
		"the old pod of a node counts beside the new one": {
			[]*corev1.Pod{
				testPod("node-000", noon, done("install", 0, 1), done(a, 2, 3)),
				testPod("node-000", noon, done("install", 4, 5), waits(b, pulling, "")),
			},
			seen{Ran: map[string]time.Duration{"node-000": time.Second}},
			seen{Pulling: []string{"node-000"}},
		},
		"a pod that is being deleted fails no more": {[]*corev1.Pod{leaving}, seen{}, seen{}},
		"an image that nobody asks for any more is passed over": {
			[]*corev1.Pod{testPod("node-000", noon, done("install", 0, 1), done("gone", 2, 3), done(b, 9, 10))},
			seen{}, seen{Ran: map[string]time.Duration{"node-000": 6 * time.Second}},
		},
		"a pod on a node that does not count is passed over": {
			[]*corev1.Pod{testPod("elsewhere", noon, done("install", 0, 1), done(a, 2, 3))}, seen{}, seen{},
		},
		"a pull that took too long while others wait has failed": {
			[]*corev1.Pod{testPod("node-000", noon.Add(-10*time.Minute), done("install", -600, -300), waits(a, pulling, ""), waits(b, pulling, ""))},
			seen{Failed: map[string]string{"node-000": "DeadlineExceeded"}}, seen{},
		},
		"the last image may take as long as it likes": {
			[]*corev1.Pod{testPod("node-000", noon.Add(-10*time.Minute), done("install", -600, -301), done(a, -301, -300), waits(b, pulling, ""))},
			seen{Ran: map[string]time.Duration{"node-000": 0}},
			seen{Pulling: []string{"node-000"}},
		},
		"a clock that went back took no time": {
			[]*corev1.Pod{testPod("node-000", noon, done("install", 0, 10), done(a, 5, 6))},
			seen{Ran: map[string]time.Duration{"node-000": 0}}, seen{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			images := namedImages(t, "a:1", "b:1")
			w := observe(pointers(testNodes(2)), images, tc.pods, 15*time.Minute, now)
			if diff := cmp.Diff(tc.a, seenOf(w.images[a])); diff != "" {
				t.Errorf("image a (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.b, seenOf(w.images[b])); diff != "" {
				t.Errorf("image b (-want +got):\n%s", diff)
			}
			if len(w.broken) > 0 {
				t.Errorf("broken: %v", w.broken)
			}
		})
	}
}

func TestSomebodyLooksAgainAtTheFirstDeadline(t *testing.T) {
	t.Parallel()
	a, b := ObjectName("a:1"), ObjectName("b:1")
	images := namedImages(t, "a:1", "b:1")
	pods := []*corev1.Pod{
		testPod("node-000", noon, done("install", 0, 20), waits(a, "PodInitializing", ""), waits(b, "PodInitializing", "")),
		testPod("node-001", noon, done("install", 0, 10), waits(a, "PodInitializing", ""), waits(b, "PodInitializing", "")),
	}
	w := observe(pointers(testNodes(2)), images, pods, time.Minute, noon.Add(30*time.Second))
	if want := noon.Add(70 * time.Second); !w.next.Equal(want) {
		t.Errorf("next look at %v, want %v", w.next, want)
	}
}

// Whatever the clock of a node says, it is the time that passed which counts.
func TestTheDeadlineOfAPullDoesNotDependOnTheClockOfTheNode(t *testing.T) {
	t.Parallel()
	a, b := ObjectName("a:1"), ObjectName("b:1")
	images := namedImages(t, "a:1", "b:1")
	for name, off := range map[string]int{"right": 0, "an hour behind": -3600, "an hour ahead": 3600} {
		pod := testPod("node-000", noon.Add(-time.Minute), done("install", off+20, off+30), waits(a, "PodInitializing", ""), waits(b, "PodInitializing", ""))
		pod.Status.StartTime = &metav1.Time{Time: noon.Add(time.Duration(off+10) * time.Second)}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(10 * time.Second))}}
		nodes := pointers(testNodes(1))
		w := observe(nodes, images, []*corev1.Pod{pod}, time.Minute, noon.Add(60*time.Second))
		if want := noon.Add(90 * time.Second); len(w.images[a].failed) > 0 || !w.next.Equal(want) {
			t.Errorf("a clock that is %s: failed %v, next look at %v, want %v", name, w.images[a].failed, w.next, want)
		}
		if w := observe(nodes, images, []*corev1.Pod{pod}, time.Minute, noon.Add(90*time.Second)); len(w.images[a].failed) != 1 {
			t.Errorf("a clock that is %s: the pull may take for ever", name)
		}
	}
}

func TestANodeTellsWhatItHas(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	images := namedImages(t, "nginx", "docker.io/library/nginx:latest", "r.test/a@"+digest)
	nodes := testNodes(2)
	nodes[0].Status.Images = []corev1.ContainerImage{
		{Names: []string{"docker.io/library/nginx@sha256:" + strings.Repeat("b", 64), "docker.io/library/nginx:latest"}, SizeBytes: 70},
		{Names: []string{"r.test/a@" + digest}, SizeBytes: 20},
	}
	nodes[1].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/nginx:latest"}, SizeBytes: 80}}
	w := observe(pointers(nodes), images, nil, time.Minute, noon)
	for image, want := range map[string]seen{
		"nginx":                          {Present: []string{"node-000", "node-001"}, Size: 80},
		"docker.io/library/nginx:latest": {Present: []string{"node-000", "node-001"}, Size: 80},
		"r.test/a@" + digest:             {Present: []string{"node-000"}, Size: 20},
	} {
		if diff := cmp.Diff(want, seenOf(w.images[ObjectName(image)])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", image, diff)
		}
	}
}

func TestAPodThatDoesNotGetToItsImagesBlamesNone(t *testing.T) {
	t.Parallel()
	a := ObjectName("a:1")
	images := namedImages(t, "a:1")
	pod := testPod("node-000", noon, waits("install", "ErrImagePull", "noop: not found"), waits(a, "PodInitializing", ""))
	w := observe(pointers(testNodes(1)), images, []*corev1.Pod{pod}, time.Minute, noon)
	if f, broken := w.broken["node-000"]; !broken || f.message != "noop: not found" {
		t.Errorf("broken: %v", w.broken)
	}
	if diff := cmp.Diff(seen{}, seenOf(w.images[a])); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
}
