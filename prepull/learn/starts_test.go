package learn

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func starts(count string, at time.Time) *v1alpha1.Starts {
	return &v1alpha1.Starts{Count: resource.MustParse(count), Time: metav1.NewTime(at)}
}

func TestPlusStarts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before *v1alpha1.Starts
		n      int
		want   string
	}{
		"the first start":                 {nil, 1, "1"},
		"more at the same time":           {starts("3", prepulltest.Noon), 2, "5"},
		"half is left after a day":        {starts("8", prepulltest.Noon.Add(-24*time.Hour)), 1, "5"},
		"a quarter after two":             {starts("8", prepulltest.Noon.Add(-48*time.Hour)), 1, "3"},
		"thousandths are kept":            {starts("1", prepulltest.Noon.Add(-24*time.Hour)), 0, "500m"},
		"nothing is left after a year":    {starts("1000", prepulltest.Noon.Add(-365*24*time.Hour)), 1, "1"},
		"a clock ahead of ours adds none": {starts("4", prepulltest.Noon.Add(time.Hour)), 1, "5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := plusStarts(test.before, test.n, prepulltest.Noon.Add(400*time.Millisecond))
			// Less than a second of decay is less than a thousandth here.
			if got.Count.Cmp(resource.MustParse(test.want)) != 0 {
				t.Errorf("count = %s, want %s", got.Count.String(), test.want)
			}
			if !got.Time.Time.Equal(prepulltest.Noon) {
				t.Errorf("time = %v, want the whole second", got.Time)
			}
		})
	}
}

func FuzzStartsDecay(f *testing.F) {
	f.Add(int64(1000), int64(3600), int64(7200), 3)
	f.Fuzz(func(t *testing.T, milli, a, b int64, n int) {
		milli, a, b, n = milli&0xffffffff, a&0xffffffff, b&0xffffffff, n&0xffff
		s := &v1alpha1.Starts{Count: *resource.NewMilliQuantity(milli, resource.DecimalSI), Time: metav1.NewTime(prepulltest.Noon)}
		sooner, later := prepulltest.Noon.Add(time.Duration(min(a, b))*time.Second), prepulltest.Noon.Add(time.Duration(max(a, b))*time.Second)
		if s.At(later) > s.At(sooner) || s.At(later) < 0 {
			t.Errorf("the count grows from %v to %v", s.At(sooner), s.At(later))
		}
		added := plusStarts(s, n, sooner)
		if got, want := added.At(later), plusStarts(s, 0, sooner).At(later); got < want {
			t.Errorf("%d more starts make %v of %v", n, got, want)
		}
		if math.Abs(added.At(sooner)-s.At(sooner)-float64(n)) > 0.001 {
			t.Errorf("%v and %d more starts are %v", s.At(sooner), n, added.At(sooner))
		}
	})
}

func TestStartCounter(t *testing.T) {
	t.Parallel()
	pod := func(uid string, age time.Duration, images ...string) observation {
		return observation{uid: types.UID(uid), created: prepulltest.Noon.Add(-age), images: images}
	}
	type step struct {
		pods       []observation
		admissions int
		want       int
	}
	for name, test := range map[string]struct {
		steps []step
		want  map[string]int
	}{
		"a pod counts for each of its images": {[]step{{[]observation{pod("a", 0, "app", "proxy")}, 1, 1}}, map[string]int{"app": 1, "proxy": 1}},
		"a pod that is seen twice counts once": {
			[]step{{[]observation{pod("a", 0, "app")}, 1, 1}, {[]observation{pod("a", 0, "app")}, 1, 0}}, map[string]int{"app": 1},
		},
		"pods that another replica was told of do not count": {
			[]step{{[]observation{pod("a", time.Minute, "old"), pod("b", 0, "new"), pod("c", time.Hour, "old")}, 1, 1}}, map[string]int{"new": 1},
		},
		"admissions without a pod do not count": {[]step{{[]observation{pod("a", 0, "app")}, 1000, 1}}, map[string]int{"app": 1}},
		"no pods, no starts":                    {[]step{{nil, 5, 0}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c startCounter
			for i, s := range test.steps {
				if got := c.count(s.pods, s.admissions); got != s.want {
					t.Errorf("step %d counted %d pods, want %d", i, got, s.want)
				}
			}
			if diff := cmp.Diff(test.want, c.take()); diff != "" {
				t.Errorf("starts (-want +got):\n%s", diff)
			}
			if left := c.take(); left != nil {
				t.Errorf("a second take gives %v", left)
			}
		})
	}
}

func TestStartsThatAreNotWrittenStay(t *testing.T) {
	t.Parallel()
	var c startCounter
	c.putBack("app", 3)
	c.count([]observation{{uid: "a", images: []string{"app"}}}, 1)
	if diff := cmp.Diff(map[string]int{"app": 4}, c.take()); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
}

func TestCountedPodsAreForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	var c startCounter
	for i := range 3*countedPods + 1 {
		c.count([]observation{{uid: types.UID(fmt.Sprint(i))}}, 1)
	}
	if got := len(c.counted) + len(c.previous); got > 2*countedPods {
		t.Errorf("%d pods are remembered, at most %d should be", got, 2*countedPods)
	}
	last := types.UID(fmt.Sprint(2*countedPods + 1))
	if c.count([]observation{{uid: last}}, 1) != 0 {
		t.Error("a pod was forgotten while it was among the newest")
	}
}
