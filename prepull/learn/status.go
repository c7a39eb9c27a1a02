package learn

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
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
	Remembered    bool             `json:"remembered,omitempty"`

	Placements  []v1alpha1.Placement       `json:"placements,omitempty"`
	PullSecrets []v1alpha1.SecretReference `json:"pullSecrets,omitempty"`
	Priority    int32                      `json:"priority,omitempty"`
	Required    *bool                      `json:"required,omitempty"`
	Autoscaled  bool                       `json:"autoscaled,omitempty"`
	AlwaysPull  bool                       `json:"alwaysPull,omitempty"`
}

func learnedOf(s v1alpha1.PrepullImageStatus) learned {
	return learned{
		s.FirstSeenTime, s.LastSeenTime, s.Starts, s.Users, s.UserCount, s.Remembered,
		s.Placements, s.PullSecrets, s.Priority, s.Required, s.Autoscaled, s.AlwaysPull,
	}
}

// demand is what the users that l knows ask for; with a userCount of 0 it is what the last ones did.
func (l learned) demand() workload.Demand {
	return workload.Demand{
		Placements: l.Placements, PullSecrets: l.PullSecrets, Priority: l.Priority, Need: workload.NeedIn(l.Required),
		Autoscaled: l.Autoscaled, AlwaysPull: l.AlwaysPull,
	}
}

func (l learned) withDemand(d workload.Demand) learned {
	l.Placements, l.PullSecrets, l.Priority = d.Placements, d.PullSecrets, d.Priority
	l.Required = d.Need.Pointer()
	l.Autoscaled, l.AlwaysPull = d.Autoscaled, d.AlwaysPull
	return l
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
	l.Remembered = false
	return l
}

// withUse is l after one user was seen, with what it asks for. Nothing changes if that is known. When the status names as
// many users as it may, only what they ask for is added: who they are, and how many, the resync alone can tell.
func (l learned) withUse(u v1alpha1.User, d workload.Demand, now time.Time) learned {
	next := l
	if l.UserCount == 0 {
		next.Users = nil
		next = next.withDemand(workload.Demand{})
	}
	next = next.withDemand(next.demand().Plus(d))
	known := slices.ContainsFunc(next.Users, func(k v1alpha1.User) bool { return workload.WithoutUID(k) == workload.WithoutUID(u) })
	if !known && len(next.Users) < maxUsers {
		next.Users = append(slices.Clone(next.Users), u)
		slices.SortFunc(next.Users, workload.CompareUsers)
		next.UserCount = max(next.UserCount, int32(len(next.Users)))
	}
	if next.equal(l) {
		return l
	}
	return next.seen(now)
}

// withUsers is l with exactly these users, which are sorted and not empty, and what they ask for. Equal ones change
// nothing.
func (l learned) withUsers(users []v1alpha1.User, d workload.Demand, now time.Time) learned {
	next := l.withDemand(d)
	next.Users = users[:min(len(users), maxUsers)]
	next.UserCount = int32(len(users))
	if next.equal(l) {
		return l
	}
	return next.seen(now)
}

// withoutUsers is l of an image that nothing uses any more; what its last users asked for is kept. An image that was not in use before does not change.
func (l learned) withoutUsers(now time.Time) learned {
	if l.UserCount == 0 {
		return l
	}
	l.UserCount = 0
	return l.seen(now)
}
