package learn

import (
	"fmt"
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
