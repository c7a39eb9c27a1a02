package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Retention is how long images are kept that nothing uses: those whose users are gone, and those that a rollout displaced.
type Retention struct {
	Gone     metav1.Duration `json:"retention"`
	Rollback metav1.Duration `json:"rollbackRetention"`
}

// ReadRetention reads the configuration of the manager; where that cannot be read it is the default.
func ReadRetention(ctx context.Context, c client.Reader, home string) (Retention, error) {
	config, err := readConfiguration(ctx, c, home)
	if err != nil {
		return Retention{}, err
	}
	return retentionOf(config)
}

// retentionOf reads nothing else of a configuration, which may be one of another version.
func retentionOf(config []byte) (Retention, error) {
	r := Retention{Gone: metav1.Duration{Duration: 24 * time.Hour}, Rollback: metav1.Duration{Duration: 24 * time.Hour}}
	if err := yaml.Unmarshal(config, &r); err != nil {
		return r, fmt.Errorf("reading the retention in the ConfigMap of the manager: %w", err)
	}
	return r, nil
}

// Kept is why an image is known that nothing uses, and until when.
type Kept struct {
	// For is OptOut, Rollback, Retention, UsualTime or TTL.
	For   string    `json:"for"`
	Until time.Time `json:"until"`

	// By is the image that took its place, where it is kept for a rollback.
	By string `json:"by,omitempty"`
}

// What images are kept for.
const (
	KeptForOptOut    = "OptOut"    // its users are in namespaces that are not opted in any more
	KeptForRollback  = "Rollback"  // a workload that used it uses another one now
	KeptForRetention = "Retention" // its users are gone
	KeptForUsualTime = "UsualTime" // it is likely to start again within a week
	KeptForTTL       = "TTL"       // it was declared with an end, and nothing has used it
)

// KeptOf is what an image is kept for; nil if it is in use, or a person declared it for good. It tells of the rule by which the
// manager retires images (prepull/learn/retire.go). objects are all of them, and optedIn the namespaces that are; nil is not known.
func (r Retention) KeptOf(o *v1alpha1.PrepullImage, objects []v1alpha1.PrepullImage, optedIn map[string]bool) *Kept {
	ttl := time.Duration(0)
	if o.Spec.TTL != nil {
		ttl = o.Spec.TTL.Duration
	}
	// An object whose maker died before it wrote the status has only its creation to go by.
	since := o.CreationTimestamp.Time
	if o.Status.LastSeenTime != nil {
		since = o.Status.LastSeenTime.Time
	}
	kept := func(why string, period time.Duration) *Kept {
		return &Kept{For: why, Until: since.Add(max(period, ttl))}
	}
	by, displaced := displacedBy(o, objects)
	switch {
	case ttl > 0 && o.Declared():
		return kept(KeptForTTL, ttl)
	case o.Declared() || o.Status.UserCount > 0:
		return nil
	case hasOptedOut(o, optedIn):
		return kept(KeptForOptOut, clock.Production().OptOutTime)
	case o.Status.Remembered:
		return kept(KeptForUsualTime, v1alpha1.LongestMemory)
	case displaced:
		rollback := kept(KeptForRollback, r.Rollback.Duration)
		rollback.By = by
		return rollback
	}
	return kept(KeptForRetention, r.Gone.Duration)
}

// hasOptedOut tells whether an image was used, and none of its last users is in a namespace that is still opted in.
func hasOptedOut(o *v1alpha1.PrepullImage, optedIn map[string]bool) bool {
	return optedIn != nil && o.Status.LastSeenTime != nil && len(o.Status.Users) > 0 &&
		!slices.ContainsFunc(o.Status.Users, func(u v1alpha1.User) bool { return optedIn[u.Namespace] })
}

// displacedBy tells whether one of the last users of an image uses others now, and which of these is another version of it: the one that
// was seen last, empty if none is.
func displacedBy(o *v1alpha1.PrepullImage, objects []v1alpha1.PrepullImage) (by string, displaced bool) {
	var seen *metav1.Time
	for i := range objects {
		other := &objects[i]
		if other.Status.UserCount == 0 || !haveUserInCommon(o, other) {
			continue
		}
		displaced = true
		if isVersionOf(other, o) && (by == "" || seen.Before(other.Status.FirstSeenTime)) {
			by, seen = other.Spec.Image, other.Status.FirstSeenTime
		}
	}
	return by, displaced
}

func haveUserInCommon(a, b *v1alpha1.PrepullImage) bool {
	return slices.ContainsFunc(a.Status.Users, func(u v1alpha1.User) bool {
		return slices.ContainsFunc(b.Status.Users, func(other v1alpha1.User) bool { return workload.WithoutUID(other) == workload.WithoutUID(u) })
	})
}

// isVersionOf tells whether an image can take the place of another one.
func isVersionOf(next, o *v1alpha1.PrepullImage) bool {
	of, err := workload.CanonicalImage(o.Spec.Image)
	if err != nil {
		return false
	}
	name, err := workload.CanonicalImage(next.Spec.Image)
	return err == nil && workload.VersionsOf(name, &next.Status).CanReplace(workload.VersionsOf(of, &o.Status))
}
