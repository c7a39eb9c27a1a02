package learn

import (
	"context"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// versions are those of PrepullImages, by name.
type versions map[string]string

// waitSeen returns when the cache of the reconciler has what was written, or something newer: what a plan does not know of
// would be missing on the nodes that it untaints.
func (r *resync) waitSeen(ctx context.Context, wrote versions) error {
	return wait.PollUntilContextCancel(ctx, r.clocks.FirstResyncPace, true, func(ctx context.Context) (bool, error) {
		var err error
		maps.DeleteFunc(wrote, func(name, version string) bool {
			seen, e := r.seen(ctx, name, version)
			if e != nil {
				err = e
			}
			return seen
		})
		return len(wrote) == 0, err
	})
}

// seen is whether the cache has a version of a PrepullImage, or has nothing to wait for: the object is gone.
func (r *resync) seen(ctx context.Context, name, version string) (bool, error) {
	var image v1alpha1.PrepullImage
	err := r.cached.Get(ctx, client.ObjectKey{Name: name}, &image)
	if apierrors.IsNotFound(err) {
		_, err = r.images.stored(ctx, name)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if err != nil {
		return false, fmt.Errorf("getting PrepullImage %s: %w", name, err)
	}
	order, err := resourceversion.CompareResourceVersion(image.ResourceVersion, version)
	if err != nil {
		return false, fmt.Errorf("comparing versions of PrepullImage %s: %w", name, err)
	}
	return order >= 0, nil
}
