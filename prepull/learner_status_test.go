package prepull

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
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

var (
	yesterday = noon.Add(-24 * time.Hour)
	five      = learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Users: deployments("a", "b", "c", "d", "e"), UserCount: 7}
	two       = learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Starts: starts("3", yesterday), Users: deployments("a", "c"), UserCount: 2}
	unused    = learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Users: deployments("a", "c")}
)

func TestWithUser(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before learned
		user   v1alpha1.User
		want   learned
	}{
		"the first user": {
			learned{}, deployments("a")[0],
			learned{FirstSeenTime: at(noon), LastSeenTime: at(noon), Users: deployments("a"), UserCount: 1},
		},
		"one more user keeps the order and the starts": {
			two, deployments("b")[0],
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(noon), Starts: starts("3", yesterday), Users: deployments("a", "b", "c"), UserCount: 3},
		},
		"a user that is known changes nothing":         {two, deployments("c")[0], two},
		"nor does one whose UID only the status knows": {two, v1alpha1.User{Kind: "Deployment", Namespace: "shop", Name: "c"}, two},
		"a sixth user is left to the resync":           {five, deployments("x")[0], five},
		"a user that comes back is a user again": {
			unused, deployments("a")[0],
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(noon), Users: deployments("a"), UserCount: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.before.withUser(test.user, noon.Add(time.Millisecond))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("withUser (-want +got):\n%s", diff)
			}
			if again := got.withUser(test.user, noon.Add(time.Hour)); !again.equal(got) {
				t.Errorf("the same user again changes (-was +is):\n%s", cmp.Diff(got, again))
			}
		})
	}
}

func TestWithUserLeavesTheOriginalAlone(t *testing.T) {
	t.Parallel()
	users := append(make([]v1alpha1.User, 0, 8), deployments("b", "c")...)
	before := learned{Users: users, UserCount: 2}
	before.withUser(deployments("a")[0], noon)
	if diff := cmp.Diff(deployments("b", "c"), before.Users); diff != "" {
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
		want   learned
	}{
		"equal users change nothing": {two, deployments("a", "c"), two},
		"twelve users, five of them by name": {
			two, deployments(many...),
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(noon), Starts: two.Starts, Users: deployments(many[:5]...), UserCount: 12},
		},
		"a user that is gone": {
			two, deployments("c"),
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(noon), Starts: two.Starts, Users: deployments("c"), UserCount: 1},
		},
		"in use again": {
			unused, deployments("a", "c"),
			learned{FirstSeenTime: at(yesterday), LastSeenTime: at(noon), Users: deployments("a", "c"), UserCount: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.before.withUsers(test.users, noon)); diff != "" {
				t.Errorf("withUsers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithoutUsers(t *testing.T) {
	t.Parallel()
	gone := learned{FirstSeenTime: at(yesterday), LastSeenTime: at(noon), Starts: two.Starts, Users: deployments("a", "c")}
	if diff := cmp.Diff(gone, two.withoutUsers(noon)); diff != "" {
		t.Errorf("the last users go (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(unused, unused.withoutUsers(noon)); diff != "" {
		t.Errorf("an unused image is looked at again (-want +got):\n%s", diff)
	}
}
