package learn

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

func TestRetire(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	keep := retention{gone: day, rollback: 2 * day, optedOut: time.Minute}
	user := func(namespace, name string) v1alpha1.User {
		return v1alpha1.User{Kind: "Deployment", Namespace: namespace, Name: name}
	}
	for name, test := range map[string]struct {
		users       []v1alpha1.User
		count       int32
		unused      time.Duration // since it was last seen; -1: never seen
		age         time.Duration
		declared    bool
		ttl         time.Duration // of a declared image; 0: none
		noRetention bool          // there is no retention
		gone        bool
		forgets     bool // its last users
		over        bool // and with it what the last users of a declared image asked for
	}{
		"the last user has just gone":                   {users: []v1alpha1.User{user("shop", "gone")}, count: 1, unused: 30 * day},
		"unused for less than the retention":            {users: []v1alpha1.User{user("shop", "gone")}, unused: day - time.Second},
		"unused for the retention":                      {users: []v1alpha1.User{user("shop", "gone")}, unused: day, gone: true},
		"displaced by a rollout, longer than retention": {users: []v1alpha1.User{user("shop", "api")}, unused: day},
		"displaced by a rollout long ago":               {users: []v1alpha1.User{user("shop", "api")}, unused: 2 * day, gone: true},
		"one of two users is still there":               {users: []v1alpha1.User{user("shop", "gone"), user("shop", "api")}, unused: day},
		"the namespace has just opted out":              {users: []v1alpha1.User{user("left", "api")}, count: 1},
		"the namespace opted out a moment ago":          {users: []v1alpha1.User{user("left", "api")}, unused: time.Minute - time.Second},
		"the namespace opted out a minute ago":          {users: []v1alpha1.User{user("left", "api")}, unused: time.Minute, gone: true},
		"opted out a moment ago, with no retention":     {users: []v1alpha1.User{user("left", "api")}, unused: time.Second, noRetention: true, gone: true},
		"one of two namespaces opted out":               {users: []v1alpha1.User{user("left", "api"), user("shop", "gone")}, count: 2},
		"one of many namespaces opted out":              {users: []v1alpha1.User{user("left", "a"), user("left", "b")}, count: 7, forgets: true},
		"many namespaces opted out, of which some are named": {
			users: []v1alpha1.User{user("left", "a"), user("shop", "gone")}, count: 7,
		},
		"in use when the census began, with no retention": {users: []v1alpha1.User{user("shop", "api")}, count: 1, noRetention: true},
		"unused when the census began, with no retention": {users: []v1alpha1.User{user("shop", "api")}, unused: time.Second, noRetention: true, gone: true},
		"never had a status, new":                         {unused: -1, age: time.Minute},
		"never had a status, old":                         {unused: -1, age: day, gone: true},
		"declared and never used":                         {unused: -1, age: 100 * day, declared: true, over: true},
		"declared, in a namespace that opted out":         {users: []v1alpha1.User{user("left", "api")}, unused: time.Minute, declared: true, over: true},
		"declared, the last user has just gone":           {users: []v1alpha1.User{user("shop", "gone")}, count: 1, declared: true},
		"never used, before its ttl":                      {unused: -1, age: 3*time.Hour - time.Second, declared: true, ttl: 3 * time.Hour},
		"never used, at its ttl":                          {unused: -1, age: 3 * time.Hour, declared: true, ttl: 3 * time.Hour, gone: true},
		"never used, with a ttl beyond the retention":     {unused: -1, age: 2 * day, declared: true, ttl: 3 * day},
		"with a ttl, in use":                              {users: []v1alpha1.User{user("shop", "gone")}, count: 1, unused: 30 * day, age: 30 * day, declared: true, ttl: time.Hour},
		"with a ttl, used less than the retention ago":    {users: []v1alpha1.User{user("shop", "gone")}, unused: day - time.Second, age: 9 * day, declared: true, ttl: time.Hour},
		"with a ttl, used the retention ago":              {users: []v1alpha1.User{user("shop", "gone")}, unused: day, age: 9 * day, declared: true, ttl: time.Hour, gone: true},
		"with a ttl, displaced by a rollout":              {users: []v1alpha1.User{user("shop", "api")}, unused: day, age: 9 * day, declared: true, ttl: time.Hour},
		"with a longer ttl, used less than that ago":      {users: []v1alpha1.User{user("shop", "gone")}, unused: 3*day - time.Second, age: 9 * day, declared: true, ttl: 3 * day},
		"with a longer ttl, used as long ago":             {users: []v1alpha1.User{user("shop", "gone")}, unused: 3 * day, age: 9 * day, declared: true, ttl: 3 * day, gone: true},
		"with a ttl, its namespace opted out":             {users: []v1alpha1.User{user("left", "api")}, unused: time.Hour - time.Second, age: day, declared: true, ttl: time.Hour},
		"with a ttl, its namespace opted out so long ago": {users: []v1alpha1.User{user("left", "api")}, unused: time.Hour, age: day, declared: true, ttl: time.Hour, gone: true},
		"declared, unused for the retention":              {users: []v1alpha1.User{user("shop", "gone")}, unused: day, declared: true, over: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := censusOf("shop")
			c.add(workloadtest.Deployment("api", "app:v2"))
			o := prepulltest.Learned("app:v1", 0)
			if test.declared {
				o = prepulltest.Declared("app", "app:v1")
			}
			if test.ttl > 0 {
				o.Spec.TTL = &metav1.Duration{Duration: test.ttl}
			}
			o.CreationTimestamp = metav1.NewTime(prepulltest.Noon.Add(-test.age))
			o.Status = v1alpha1.PrepullImageStatus{Users: test.users, UserCount: test.count, Placements: anyNode}
			if test.unused >= 0 {
				o.Status.LastSeenTime = at(prepulltest.Noon.Add(-test.unused))
				o.Status.FirstSeenTime = o.Status.LastSeenTime
			}
			keep := keep
			if test.noRetention {
				keep = retention{}
			}
			suspended := keep
			suspended.suspended = true
			if next, gone := retire(&o, c, suspended, prepulltest.Noon); gone || len(next.Placements) == 0 {
				t.Errorf("while nobody knows the time it is gone: %t, and %d placements are left", gone, len(next.Placements))
			}
			next, gone := retire(&o, c, keep, prepulltest.Noon)
			if gone != test.gone {
				t.Errorf("gone = %t, want %t", gone, test.gone)
			}
			named := len(test.users)
			if test.forgets {
				named = 0
			}
			if next.UserCount != 0 || len(next.Users) != named {
				t.Errorf("the status names %d last users, want %d, and counts %d", len(next.Users), named, next.UserCount)
			}
			if kept := len(next.Placements) > 0; kept != !test.over {
				t.Errorf("what the last users asked for is kept: %t", kept)
			}
			if inUse := test.count > 0; inUse != next.LastSeenTime.Equal(at(prepulltest.Noon)) {
				t.Errorf("last seen at %v by an image that was in use: %t", next.LastSeenTime, inUse)
			}
		})
	}
}

// What expires from one resync to the next leaves with it, at once: every change of a list restarts pods.
func TestExpiredImagesLeaveInBatches(t *testing.T) {
	t.Parallel()
	const images, interval = 60, 10 * time.Minute
	c := censusOf("shop")
	var stored []v1alpha1.PrepullImage
	for i := range images {
		gone := learned{}.withUsers(deployments("gone"), freely, yesterday).withoutUsers(yesterday.Add(time.Duration(i) * time.Minute))
		stored = append(stored, used(fmt.Sprint("app:", i), gone))
	}
	var batches []int
	for now := prepulltest.Noon; len(stored) > 0 && len(batches) < images; now = now.Add(interval) {
		changes, _ := planResync(stored, c, testRetention, now)
		batches = append(batches, len(changes))
		stored = carriedOut(stored, changes)
	}
	if diff := cmp.Diff([]int{1, 10, 10, 10, 10, 10, 9}, batches); diff != "" {
		t.Errorf("images that leave with each resync (-want +got):\n%s", diff)
	}
}

// Time alone ends what was declared with an end, and no resync is due then.
func TestAnEndIsLookedAtWhenItComes(t *testing.T) {
	t.Parallel()
	const ttl = 5 * time.Minute
	c := censusOf("shop")
	c.add(workloadtest.Deployment("api", "used:v1"))
	c.settle()
	with := func(image string, created time.Time) v1alpha1.PrepullImage {
		o := prepulltest.Declared(image, image)
		o.CreationTimestamp, o.Spec.TTL = metav1.NewTime(created), &metav1.Duration{Duration: ttl}
		return o
	}
	remembered := with("remembered:v1", yesterday)
	remembered.Status.FirstSeenTime, remembered.Status.Remembered = at(yesterday), true
	stored := []v1alpha1.PrepullImage{
		with("new:v1", prepulltest.Noon.Add(-time.Minute)), with("old:v1", prepulltest.Noon.Add(-2*time.Minute)),
		with("over:v1", prepulltest.Noon.Add(-ttl)), with("used:v1", yesterday), prepulltest.Declared("lasting", "lasting:v1"),
	}
	changes, again := planResync(stored, c, testRetention, prepulltest.Noon)
	var went []string
	for _, change := range changes {
		if change.retire {
			went = append(went, change.image)
		}
	}
	if diff := cmp.Diff([]string{"over:v1"}, went); diff != "" {
		t.Errorf("what goes (-want +got):\n%s", diff)
	}
	if want := prepulltest.Noon.Add(3 * time.Minute); !again.Equal(want) {
		t.Errorf("it is looked at again at %s, want %s", again, want)
	}
	if _, again := planResync([]v1alpha1.PrepullImage{remembered}, c, testRetention, prepulltest.Noon); !again.IsZero() && again.Before(prepulltest.Noon) {
		t.Errorf("it is looked at again at once, and again, and again")
	}
}

// An image that is learned and was declared with an end has an object for each: the one that goes must not take with it what was
// learned.
func TestADeclarationWithAnEndEndsNoLearnedImage(t *testing.T) {
	t.Parallel()
	c := censusOf("shop")
	learnedOne, passing, lasting := prepulltest.Learned("app:v1", 3), prepulltest.Declared("passing", "app:v1"), prepulltest.Declared("lasting", "app:v1")
	learnedOne.Status.LastSeenTime = at(prepulltest.Noon)
	passing.Spec.TTL = &metav1.Duration{Duration: 2 * time.Hour}
	for name, test := range map[string]struct {
		beside v1alpha1.PrepullImage
		goes   bool
	}{"declared for good": {lasting, true}, "declared with an end": {passing, false}} {
		changes, _ := planResync([]v1alpha1.PrepullImage{learnedOne, test.beside}, c, testRetention, prepulltest.Noon)
		goes := len(changes) == 1 && changes[0].retire && changes[0].object.Name == learnedOne.Name
		if goes != test.goes || !goes && len(changes) > 0 {
			t.Errorf("%s: the learned one goes: %t, changes: %+v", name, goes, changes)
		}
	}
}
