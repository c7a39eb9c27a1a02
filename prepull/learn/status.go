package learn

import (
	"cmp"
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
// With a userCount of 0, users are those that used the image last: they say why and how long it is kept. Those whose pods have
// another image in its place are not counted.
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
		next.Users = slices.DeleteFunc(slices.Clone(l.Users), func(k v1alpha1.User) bool { return k.Runs == "" })
		next = next.withDemand(workload.Demand{})
	}
	next = next.withDemand(next.demand().Plus(d))
	at := userIn(next.Users, u)
	if at >= 0 && next.Users[at].Runs != "" {
		u.UID = cmp.Or(u.UID, next.Users[at].UID)
		next.Users = slices.Delete(slices.Clone(next.Users), at, at+1)
		at = -1
	}
	if at < 0 && inUse(next.Users) < maxUsers {
		next.Users = append(slices.Clone(next.Users), u)
		slices.SortFunc(next.Users, compareUsers)
		next.Users = next.Users[:min(len(next.Users), maxUsers)]
	}
	next.UserCount = max(next.UserCount, int32(inUse(next.Users)))
	if next.equal(l) {
		return l
	}
	return next.seen(now)
}

// predictedFor is l after a template was seen that names the image. Where the workload's pods, or others of the namespace, have
// another image in its place, they will have it again.
func (l learned) predictedFor(u v1alpha1.User, d workload.Demand, now time.Time) learned {
	at := userIn(l.Users, u)
	if at >= 0 && l.Users[at].Runs != "" {
		return l
	}
	other := slices.IndexFunc(l.Users, func(k v1alpha1.User) bool { return k.Namespace == u.Namespace && k.Runs != "" })
	if at >= 0 || other < 0 || inUse(l.Users) > 0 || len(l.Users) >= maxUsers {
		return l.withUse(u, d, now)
	}
	u.Runs = l.Users[other].Runs
	l.Users = append(slices.Clone(l.Users), u)
	slices.SortFunc(l.Users, compareUsers)
	return l.seen(now)
}

// replacedFor is l after pods of a user were seen that have another image in its place. Who else uses it is as it was.
func (l learned) replacedFor(u v1alpha1.User, by string, now time.Time) learned {
	at := userIn(l.Users, u)
	if at < 0 || l.Users[at].Runs == by {
		return l
	}
	if l.Users[at].Runs == "" {
		l.UserCount = max(0, l.UserCount-1)
	}
	l.Users = slices.Clone(l.Users)
	l.Users[at].Runs = by
	slices.SortFunc(l.Users, compareUsers)
	return l.seen(now)
}

// withUsers is l with exactly these users, which are sorted and not empty, and what they ask for. Equal ones change
// nothing.
func (l learned) withUsers(users []v1alpha1.User, d workload.Demand, now time.Time) learned {
	next := l.withDemand(d)
	next.Users = users[:min(len(users), maxUsers)]
	next.UserCount = int32(inUse(users))
	if next.equal(l) {
		return l
	}
	return next.seen(now)
}

// userIn is where a workload is among users, -1 if it is not.
func userIn(users []v1alpha1.User, u v1alpha1.User) int {
	return slices.IndexFunc(users, func(k v1alpha1.User) bool { return workload.WithoutUID(k) == workload.WithoutUID(u) })
}

// inUse counts the users that run the image, or will.
func inUse(users []v1alpha1.User) int {
	n := 0
	for _, u := range users {
		if u.Runs == "" {
			n++
		}
	}
	return n
}

// compareUsers puts those first that count.
func compareUsers(a, b v1alpha1.User) int {
	return cmp.Or(cmp.Compare(min(len(a.Runs), 1), min(len(b.Runs), 1)), workload.CompareUsers(a, b))
}

// withoutUsers is l of an image that nothing uses any more; what its last users asked for is kept. An image that was not in use before does not change.
func (l learned) withoutUsers(now time.Time) learned {
	if l.UserCount == 0 {
		return l
	}
	l.UserCount = 0
	return l.seen(now)
}
