package plan

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	failing := prepulltest.Learned("failing:1", 100)
	failing.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 1, Time: metav1.NewTime(prepulltest.Noon)}}
	elsewhere := prepulltest.Learned("elsewhere:1", 100)
	elsewhere.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-arm64", Failures: 1, Time: metav1.NewTime(prepulltest.Noon)}}
	older := prepulltest.Learned("z-older:1", 5)
	older.Status.FirstSeenTime = &metav1.Time{Time: prepulltest.Noon.Add(-2 * time.Hour)}
	faded := prepulltest.Learned("faded:1", 8)
	faded.Status.Starts.Time = metav1.NewTime(prepulltest.Noon.Add(-2 * v1alpha1.StartsHalfLife))
	urgent := prepulltest.Learned("urgent:1", 0)
	urgent.Status.Priority = 10
	negative := prepulltest.Learned("negative:1", 100)
	negative.Status.Priority = -1
	scaled := prepulltest.Learned("scaled:1", 0)
	scaled.Status.Autoscaled = true
	scaledFailing := prepulltest.Learned("scaled-failing:1", 100)
	scaledFailing.Status.Autoscaled = true
	scaledFailing.Status.Retries = failing.Status.Retries
	small, large := prepulltest.Learned("z-small:1", 5), prepulltest.Learned("large:1", 5)
	small.Status.SizeBytes, large.Status.SizeBytes = 10<<20, 900<<20
	download := prepulltest.Learned("download:1", 6)
	download.Status.DownloadBytes = 500 << 20
	mine := prepulltest.Declared("mine", "mine:1")
	mine.Status.SizeBytes = 800 << 20
	passing, handed := prepulltest.Declared("passing", "b:1"), prepulltest.Declared("handed", "b:1")
	passing.Spec.TTL = &metav1.Duration{Duration: time.Hour}
	handed.Spec.TTL, handed.Status.FirstSeenTime, handed.Status.UserCount = passing.Spec.TTL, &handed.CreationTimestamp, 1
	for name, tc := range map[string]struct {
		objects []v1alpha1.PrepullImage
		current []string
		budget  budget
		want    []string
	}{
		"within the budget all have a place": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("b:1", 2)}, nil, budget{2, unbounded}, []string{"b:1", "a:1"},
		},
		"more starts win": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("b:1", 3), prepulltest.Learned("c:1", 2)}, nil, budget{2, unbounded}, []string{"b:1", "c:1"},
		},
		"starts count at their present value": {
			[]v1alpha1.PrepullImage{faded, prepulltest.Learned("b:1", 3)}, nil, budget{1, unbounded}, []string{"b:1"},
		},
		"a declared image goes before any learned one": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1000), prepulltest.Declared("mine", "b:1")}, nil, budget{1, unbounded}, []string{"b:1"},
		},
		"so does one that is declared with an end": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1000), passing}, nil, budget{1, unbounded}, []string{"b:1"},
		},
		"one that was declared with an end, and used since, is like a learned one": {
			[]v1alpha1.PrepullImage{inUse("a:1"), handed}, nil, budget{1, unbounded}, []string{"a:1"},
		},
		"an image that is both learned and declared is declared": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 9), prepulltest.Learned("b:1", 1), prepulltest.Declared("mine", "b:1")}, nil, budget{1, unbounded}, []string{"b:1"},
		},
		"the older one wins a tie": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 5), older}, nil, budget{1, unbounded}, []string{"z-older:1"},
		},
		"an image that fails here goes after all others": {
			[]v1alpha1.PrepullImage{failing, prepulltest.Learned("a:1", 0)}, nil, budget{1, unbounded}, []string{"a:1"},
		},
		"a failure on another class does not matter": {
			[]v1alpha1.PrepullImage{elsewhere, prepulltest.Learned("a:1", 0)}, nil, budget{1, unbounded}, []string{"elsewhere:1"},
		},
		"an image on the nodes is not displaced by one that is a little better": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 10), prepulltest.Learned("b:1", 19)}, []string{"a:1"}, budget{1, unbounded}, []string{"a:1"},
		},
		"an image on the nodes is displaced by one that is twice as good": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 10), prepulltest.Learned("b:1", 21)}, []string{"a:1"}, budget{1, unbounded}, []string{"b:1"},
		},
		"an image of a workload that is scaled by load goes before a higher priority": {
			[]v1alpha1.PrepullImage{urgent, scaled}, nil, budget{1, unbounded}, []string{"scaled:1"},
		},
		"one that fails does not": {
			[]v1alpha1.PrepullImage{scaledFailing, prepulltest.Learned("a:1", 0)}, nil, budget{1, unbounded}, []string{"a:1"},
		},
		"a higher priority goes before more starts": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 100), urgent}, nil, budget{1, unbounded}, []string{"urgent:1"},
		},
		"a priority below none goes behind": {
			[]v1alpha1.PrepullImage{negative, prepulltest.Learned("a:1", 0)}, nil, budget{1, unbounded}, []string{"a:1"},
		},
		"a smaller one wins a tie": {
			[]v1alpha1.PrepullImage{large, small, older}, nil, budget{2, unbounded}, []string{"z-small:1", "z-older:1"},
		},
		"what does not fit is passed over": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 9), download, large, small}, nil, budget{9, 300 << 20}, []string{"a:1", "z-small:1"},
		},
		"an unknown size counts as a usual one": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 2), prepulltest.Learned("b:1", 1)}, nil, budget{9, 2*assumedSize - 1}, []string{"a:1"},
		},
		"an exact fit is one": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 2), prepulltest.Learned("b:1", 1)}, nil, budget{2, 2 * assumedSize}, []string{"a:1", "b:1"},
		},
		"what the registry says of the size counts": {
			[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 0), download}, nil, budget{9, 499 << 20}, []string{"a:1"},
		},
		"a declared image that does not fit leaves its room to others": {
			[]v1alpha1.PrepullImage{mine, small}, nil, budget{9, 799 << 20}, []string{"z-small:1"},
		},
		"there may be no room at all": {
			[]v1alpha1.PrepullImage{mine, small}, nil, budget{9, 0}, nil,
		},
		"nothing is chosen from nothing": {nil, nil, budget{5, unbounded}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, invalid := candidates(tc.objects, prepulltest.Noon)
			if len(invalid) > 0 {
				t.Fatal(invalid)
			}
			var current []Listed
			for _, image := range tc.current {
				current = append(current, Listed{Name: workload.ObjectName(image)})
			}
			failing := map[*Candidate]bool{}
			for _, c := range found {
				failing[c] = c.retryIn("linux-amd64") != nil
			}
			chosen, over := chooseAmong(found, current, failing, tc.budget)
			var images []string
			for _, c := range chosen {
				images = append(images, c.image)
			}
			if diff := cmp.Diff(tc.want, images); diff != "" {
				t.Errorf("chosen (-want +got):\n%s", diff)
			}
			if len(chosen)+len(over) != len(found) {
				t.Errorf("%d chosen and %d over the budget, of %d", len(chosen), len(over), len(found))
			}
			for c, skip := range over {
				if skip.reason != "OverBudget" || skip.why == "" {
					t.Errorf("%s is left out: %+v", c.image, skip)
				}
			}
		})
	}
}

func TestCandidatesLeaveOutWhatTheKubeletWouldRefuse(t *testing.T) {
	t.Parallel()
	found, invalid := candidates([]v1alpha1.PrepullImage{
		prepulltest.Declared("bad", "Not An Image"),
		prepulltest.Declared("good", "nginx"),
		prepulltest.Declared("empty", ""),
	}, prepulltest.Noon)
	if len(found) != 1 || found[0].image != "nginx" {
		t.Errorf("candidates %v", found)
	}
	for _, name := range []string{"bad", "empty"} {
		if invalid[name] == "" {
			t.Errorf("%s is not refused in words", name)
		}
	}
}

func TestTwoImagesWithOneShortNameHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	// The two have the same slug and, found by trying, the same hash: a DaemonSet with one name for both would be refused.
	const a, b = "r1791.test/a", "r44621.test/a"
	short, long := workload.ObjectName(a), workload.ObjectNames(b)[1]
	if short != workload.ObjectName(b) {
		t.Fatal("the two do not have the same name")
	}
	learned := func(name, image string) v1alpha1.PrepullImage {
		o := prepulltest.Learned(image, 1)
		o.Name = name
		return o
	}
	for name, test := range map[string]struct {
		objects []v1alpha1.PrepullImage
		want    map[string]string
	}{
		"both learned":                         {[]v1alpha1.PrepullImage{learned(long, b), learned(short, a)}, map[string]string{short: a, long: b}},
		"the second when the first is gone":    {[]v1alpha1.PrepullImage{learned(long, b)}, map[string]string{long: b}},
		"the second, declared as well":         {[]v1alpha1.PrepullImage{prepulltest.Declared("b", b), learned(long, b), learned(short, a)}, map[string]string{short: a, long: b}},
		"both declared":                        {[]v1alpha1.PrepullImage{prepulltest.Declared("second", b), prepulltest.Declared("first", a)}, map[string]string{short: a, long: b}},
		"one declared before one like it came": {[]v1alpha1.PrepullImage{learned(short, b), prepulltest.Declared("first", a)}, map[string]string{short: a, long: b}},
	} {
		found, invalid := candidates(test.objects, prepulltest.Noon)
		got := map[string]string{}
		for _, c := range found {
			got[c.Name] = c.image
		}
		if !maps.Equal(got, test.want) || len(found) != len(test.want) || len(invalid) > 0 {
			t.Errorf("%s: %v, invalid %v, want %v", name, got, invalid, test.want)
		}
	}
}

func TestObjectsOfOneImageAreOneCandidate(t *testing.T) {
	t.Parallel()
	gpu := prepulltest.Declared("gpu", "a:1")
	gpu.Spec.NodeSelector = map[string]v1alpha1.LabelValue{"gpu": "yes"}
	disk := prepulltest.Declared("disk", "a:1")
	disk.Spec.NodeSelector = map[string]v1alpha1.LabelValue{"disk": "ssd"}
	for name, tc := range map[string]struct {
		objects    []v1alpha1.PrepullImage
		placements int
	}{
		"two selectors are both served":         {[]v1alpha1.PrepullImage{gpu, disk}, 2},
		"a learned one adds those of its users": {[]v1alpha1.PrepullImage{gpu, prepulltest.Learned("a:1", 1)}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, _ := candidates(tc.objects, prepulltest.Noon)
			if len(found) != 1 || len(found[0].objects) != len(tc.objects) || len(found[0].placements) != tc.placements {
				t.Errorf("got %+v", found)
			}
		})
	}
}

func TestTheOrderOfAListOfObjectsDoesNotMatter(t *testing.T) {
	t.Parallel()
	a, b := prepulltest.Learned("a:1", 1), prepulltest.Declared("mine", "a:1")
	ab, _ := candidates([]v1alpha1.PrepullImage{a, b}, prepulltest.Noon)
	ba, _ := candidates([]v1alpha1.PrepullImage{b, a}, prepulltest.Noon)
	names := func(cs []*Candidate) string {
		var names []string
		for _, o := range cs[0].objects {
			names = append(names, o.Name)
		}
		return strings.Join(names, " ")
	}
	if names(ab) != names(ba) || !strings.HasPrefix(names(ab), "mine") {
		t.Errorf("%s, %s", names(ab), names(ba))
	}
}
