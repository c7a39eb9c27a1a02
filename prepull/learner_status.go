package prepull

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxUsers is how many users a status names; the CRD allows no more.
const maxUsers = 5

// learned is the part of a PrepullImage's status that the learner and the resync own. The reconciler owns the rest.
// With a userCount of 0, users are those that used the image last: they say why and how long it is kept.
type learned struct {
	FirstSeenTime *metav1.Time     `json:"firstSeenTime,omitempty"`
	LastSeenTime  *metav1.Time     `json:"lastSeenTime,omitempty"`
	Starts        *v1alpha1.Starts `json:"starts,omitempty"`
	Users         []v1alpha1.User  `json:"users,omitempty"`
	UserCount     int32            `json:"userCount,omitempty"`
}

func learnedOf(s v1alpha1.PrepullImageStatus) learned {
	return learned{s.FirstSeenTime, s.LastSeenTime, s.Starts, s.Users, s.UserCount}
}

func (l learned) equal(other learned) bool {
	return equality.Semantic.DeepEqual(l, other)
}

// seen is l of an image that is in use at now.
func (l learned) seen(now time.Time) learned {
	t := metav1.NewTime(now.Truncate(time.Second))
	if l.FirstSeenTime == nil {
		l.FirstSeenTime = &t
	}
	l.LastSeenTime = &t
	return l
}

// withUser is l after one user was seen. Nothing changes if it is known or if the status names as many users as it
// may: who the others are, and how many, the resync alone can tell.
func (l learned) withUser(u v1alpha1.User, now time.Time) learned {
	if l.UserCount == 0 {
		l.Users = nil
	}
	known := slices.ContainsFunc(l.Users, func(k v1alpha1.User) bool { return withoutUID(k) == withoutUID(u) })
	if known || len(l.Users) >= maxUsers {
		return l
	}
	l.Users = append(slices.Clone(l.Users), u)
	slices.SortFunc(l.Users, compareUsers)
	l.UserCount = max(l.UserCount, int32(len(l.Users)))
	return l.seen(now)
}

// withUsers is l with exactly these users, which are sorted and not empty. Equal users change nothing.
func (l learned) withUsers(users []v1alpha1.User, now time.Time) learned {
	next := l
	next.Users = users[:min(len(users), maxUsers)]
	next.UserCount = int32(len(users))
	if next.equal(l) {
		return l
	}
	return next.seen(now)
}

// withoutUsers is l of an image that nothing uses any more. An image that was not in use before does not change.
func (l learned) withoutUsers(now time.Time) learned {
	if l.UserCount == 0 {
		return l
	}
	l.UserCount = 0
	return l.seen(now)
}
