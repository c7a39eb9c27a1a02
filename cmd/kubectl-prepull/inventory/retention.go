package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

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
	// For is Rollback, Retention, UsualTime or TTL.
	For   string    `json:"for"`
	Until time.Time `json:"until"`
}

// What images are kept for.
const (
	KeptForRollback  = "Rollback"  // a workload that used it uses another one now
	KeptForRetention = "Retention" // its users are gone
	KeptForUsualTime = "UsualTime" // it is likely to start again within a week
	KeptForTTL       = "TTL"       // it was declared with an end, and nothing has used it
)

// KeptOf is what an image is kept for; nil if it is in use, or a person declared it for good. objects are all of them.
func (r Retention) KeptOf(o *v1alpha1.PrepullImage, objects []v1alpha1.PrepullImage) *Kept {
	seen := o.Status.LastSeenTime
	displaced := slices.ContainsFunc(objects, func(other v1alpha1.PrepullImage) bool {
		return other.Status.UserCount > 0 && slices.ContainsFunc(other.Status.Users, func(u v1alpha1.User) bool {
			return slices.ContainsFunc(o.Status.Users, func(was v1alpha1.User) bool { return workload.WithoutUID(was) == workload.WithoutUID(u) })
		})
	})
	ttl := time.Duration(0)
	if o.Spec.TTL != nil {
		ttl = o.Spec.TTL.Duration
	}
	switch {
	case ttl > 0 && o.Declared():
		return &Kept{KeptForTTL, o.CreationTimestamp.Add(ttl)}
	case o.Declared() || o.Status.UserCount > 0 || seen == nil:
		return nil
	case o.Status.Remembered:
		return &Kept{KeptForUsualTime, seen.Add(v1alpha1.LongestMemory)}
	case displaced:
		return &Kept{KeptForRollback, seen.Add(max(r.Rollback.Duration, ttl))}
	}
	return &Kept{KeptForRetention, seen.Add(max(r.Gone.Duration, ttl))}
}
