package learn

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func deployments(names ...string) []v1alpha1.User {
	var users []v1alpha1.User
	for _, name := range names {
		users = append(users, v1alpha1.User{Kind: "Deployment", Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name)})
	}
	return users
}

// at is a time in a status.
func at(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }

// gpuDemand is what a workload asks for that runs on nodes with a GPU.
var gpuDemand = workload.Demand{
	Placements:  []v1alpha1.Placement{{NodeSelector: map[string]string{"gpu": "true"}}},
	PullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "registry"}},
	Priority:    7,
	Need:        workload.Required,
	AlwaysPull:  true,
}

var (
	yesterday = prepulltest.Noon.Add(-24 * time.Hour)

	// anyNode is where a workload may run that says nothing about it, and freely all that it asks for.
	anyNode = []v1alpha1.Placement{{}}
	freely  = workload.Demand{Placements: anyNode}

	five   = learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Users: deployments("a", "b", "c", "d", "e"), UserCount: 7, Placements: anyNode}
	two    = learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Starts: starts("3", yesterday), Users: deployments("a", "c"), UserCount: 2, Placements: anyNode}
	unused = learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Users: deployments("a", "c")}.withDemand(gpuDemand)
)

func TestWithUse(t *testing.T) {
	t.Parallel()
	// also is l after a demand that was not known came to it.
	also := func(l learned, d workload.Demand) learned {
		l.LastSeenTime = at(prepulltest.Noon)
		return l.withDemand(d)
	}
	both := gpuDemand
	both.Placements = append(slices.Clone(gpuDemand.Placements), anyNode...)
	scaled := two
	scaled.Autoscaled = true
	for name, test := range map[string]struct {
		before learned
		user   v1alpha1.User
		demand workload.Demand
		want   learned
	}{
		"the first user": {
			learned{}, deployments("a")[0], freely,
			learned{FirstSeenTime: at(prepulltest.Noon), LastSeenTime: at(prepulltest.Noon), Users: deployments("a"), UserCount: 1, Placements: anyNode},
		},
		"one more user keeps the order and the starts": {
			two, deployments("b")[0], freely,
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(prepulltest.Noon), Starts: starts("3", yesterday), Users: deployments("a", "b", "c"), UserCount: 3, Placements: anyNode},
		},
		"a user that is known changes nothing":         {two, deployments("c")[0], freely, two},
		"nor does one whose UID only the status knows": {two, v1alpha1.User{Kind: "Deployment", Namespace: "shop", Name: "c"}, freely, two},
		"a sixth user is left to the resync":           {five, deployments("x")[0], freely, five},
		"a user that comes back is a user again, and what others asked for is forgotten": {
			unused, deployments("a")[0], freely,
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(prepulltest.Noon), Users: deployments("a"), UserCount: 1, Placements: anyNode},
		},
		"a known user that asks for something else": {two, deployments("c")[0], gpuDemand, also(two, both)},
		"a sixth user that does":                    {five, deployments("x")[0], gpuDemand, also(five, both)},
		"a scaler is the resync's business":         {scaled, deployments("c")[0], freely, scaled},
		"an image that was learned without demands": {
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Users: deployments("c"), UserCount: 1}, deployments("c")[0], gpuDemand,
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(prepulltest.Noon), Users: deployments("c"), UserCount: 1}.withDemand(gpuDemand),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.before.withUse(test.user, test.demand, prepulltest.Noon.Add(time.Millisecond))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("withUse (-want +got):\n%s", diff)
			}
			if again := got.withUse(test.user, test.demand, prepulltest.Noon.Add(time.Hour)); !again.equal(got) {
				t.Errorf("the same use again changes (-was +is):\n%s", cmp.Diff(got, again))
			}
		})
	}
}

func TestWithUseLeavesTheOriginalAlone(t *testing.T) {
	t.Parallel()
	spare := func(p ...v1alpha1.Placement) []v1alpha1.Placement {
		return append(make([]v1alpha1.Placement, 0, 8), p...)
	}
	before := learned{
		Users: append(make([]v1alpha1.User, 0, 8), deployments("b", "c")...), UserCount: 2, Placements: spare(v1alpha1.Placement{}),
		PullSecrets: append(make([]v1alpha1.SecretReference, 0, 8), v1alpha1.SecretReference{Namespace: "shop", Name: "z"}),
	}
	before.withUse(deployments("a")[0], gpuDemand, prepulltest.Noon)
	want := learned{
		Users: deployments("b", "c"), UserCount: 2, Placements: anyNode,
		PullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "z"}},
	}
	if diff := cmp.Diff(want, before); diff != "" {
		t.Errorf("the object in the cache changed (-want +got):\n%s", diff)
	}
}

func TestWithUsers(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("app-%02d", i))
	}
	for name, test := range map[string]struct {
		before learned
		users  []v1alpha1.User
		demand workload.Demand
		want   learned
	}{
		"equal users change nothing": {two, deployments("a", "c"), freely, two},
		"twelve users, five of them by name": {
			two, deployments(many...), freely,
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(prepulltest.Noon), Starts: two.Starts, Users: deployments(many[:5]...), UserCount: 12, Placements: anyNode},
		},
		"a user that is gone": {
			two, deployments("c"), freely,
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(prepulltest.Noon), Starts: two.Starts, Users: deployments("c"), UserCount: 1, Placements: anyNode},
		},
		"a user that asks for something else than before": {
			two, deployments("a", "c"), gpuDemand,
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(prepulltest.Noon), Starts: two.Starts, Users: deployments("a", "c"), UserCount: 2}.withDemand(gpuDemand),
		},
		"in use again": {
			unused, deployments("a", "c"), freely,
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(prepulltest.Noon), Users: deployments("a", "c"), UserCount: 2, Placements: anyNode},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.before.withUsers(test.users, test.demand, prepulltest.Noon)); diff != "" {
				t.Errorf("withUsers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithoutUsers(t *testing.T) {
	t.Parallel()
	gone := learned{FirstSeenTime: at(yesterday), LastSeenTime: at(prepulltest.Noon), Starts: two.Starts, Users: deployments("a", "c"), Placements: anyNode}
	if diff := cmp.Diff(gone, two.withoutUsers(prepulltest.Noon)); diff != "" {
		t.Errorf("the last users go (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(unused, unused.withoutUsers(prepulltest.Noon)); diff != "" {
		t.Errorf("an unused image is looked at again (-want +got):\n%s", diff)
	}
}

// A user whose pods have another image in its place does not count, until one of its pods runs the image.
func TestUsersWhosePodsRunAnotherImage(t *testing.T) {
	t.Parallel()
	a, b := deployments("a")[0], deployments("b")[0]
	injected := func(u v1alpha1.User) v1alpha1.User { u.Runs = "proxy:v1"; return u }
	elsewhere := b
	elsewhere.Namespace = "office"
	knows := func(count int32, users ...v1alpha1.User) learned {
		return learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Users: users, UserCount: count, Placements: anyNode}
	}
	template := func(u v1alpha1.User) func(learned) learned {
		return func(l learned) learned { return l.predictedFor(u, freely, prepulltest.Noon) }
	}
	pod := func(u v1alpha1.User) func(learned) learned {
		return func(l learned) learned { return l.withUse(u, freely, prepulltest.Noon) }
	}
	other := func(u v1alpha1.User) func(learned) learned {
		return func(l learned) learned { return l.replacedFor(u, "proxy:v1", prepulltest.Noon) }
	}
	for name, test := range map[string]struct {
		before learned
		seen   func(learned) learned
		count  int32
		users  []v1alpha1.User
	}{
		"pods of the only user run another":              {knows(1, a), other(a), 0, []v1alpha1.User{injected(a)}},
		"pods of one user of two do":                     {knows(2, a, b), other(a), 1, []v1alpha1.User{b, injected(a)}},
		"pods of a user that is not named do":            {knows(1, a), other(b), 1, []v1alpha1.User{a}},
		"they still do":                                  {knows(0, injected(a)), other(a), 0, []v1alpha1.User{injected(a)}},
		"the template is seen again":                     {knows(0, injected(a)), template(a), 0, []v1alpha1.User{injected(a)}},
		"a pod runs it":                                  {knows(0, injected(a)), pod(a), 1, []v1alpha1.User{a}},
		"another template of the namespace":              {knows(0, injected(a)), template(b), 0, []v1alpha1.User{injected(a), injected(b)}},
		"another template of it, while somebody runs it": {knows(1, a, injected(b)), template(deployments("c")[0]), 2, []v1alpha1.User{a, deployments("c")[0], injected(b)}},
		"a template of another namespace":                {knows(0, injected(a)), template(elsewhere), 1, []v1alpha1.User{elsewhere, injected(a)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.seen(test.before)
			if diff := cmp.Diff(test.users, got.Users); diff != "" || got.UserCount != test.count {
				t.Errorf("%d users, want %d (-want +got):\n%s", got.UserCount, test.count, diff)
			}
			if again := test.seen(got); !again.equal(got) {
				t.Errorf("the same again changes %+v", again)
			}
		})
	}
}
