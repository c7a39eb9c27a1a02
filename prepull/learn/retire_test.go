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
		noRetention bool // there is no retention
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
			o.CreationTimestamp = metav1.NewTime(prepulltest.Noon.Add(-test.age))
			o.Status = v1alpha1.PrepullImageStatus{Users: test.users, UserCount: test.count, Placements: anyNode}
			if test.unused >= 0 {
				o.Status.LastSeenTime = at(prepulltest.Noon.Add(-test.unused))
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
			if kept := len(next.Placements) > 0; kept != (!test.declared || !test.over) {
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
