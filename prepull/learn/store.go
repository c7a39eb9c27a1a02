package learn

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// learnerOwner of what the learner and the resync write.
	learnerOwner = client.FieldOwner("kube-prepull-learner")

	// maxImages is how many PrepullImages there may be for kube-prepull to make one more: a larger number burdens the
	// API server and helps no node.
	maxImages = 5000

	// writeAttempts is how often a status is written on top of what another writer wrote meanwhile.
	writeAttempts = 5
)

// imageStore keeps the PrepullImages: reads come from the cache, writes are guarded by the resource version.
type imageStore struct {
	client client.Client
	live   client.Reader
	log    logr.Logger
	// complain keeps an image that cannot be stored from filling the log with every pod.
	complain rate.Sometimes
	metrics  *metrics
}

func newImageStore(c client.Client, live client.Reader, log logr.Logger, m *metrics) *imageStore {
	return &imageStore{client: c, live: live, log: log, complain: rate.Sometimes{First: 1, Interval: time.Minute}, metrics: m}
}

// find returns the PrepullImage of an image as the cache has it, nil if there is none, and then also how many others
// there are. A person may have declared the image under any name.
func (s *imageStore) find(ctx context.Context, image string) (*v1alpha1.PrepullImage, int, error) {
	var named v1alpha1.PrepullImage
	err := s.client.Get(ctx, client.ObjectKey{Name: workload.ObjectName(image)}, &named)
	if client.IgnoreNotFound(err) != nil {
		return nil, 0, fmt.Errorf("getting the PrepullImage: %w", err)
	}
	if err == nil && named.Spec.Image == image {
		return &named, 0, nil
	}
	var list v1alpha1.PrepullImageList
	if err := s.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, 0, fmt.Errorf("listing PrepullImages: %w", err)
	}
	for i := range list.Items {
		if list.Items[i].Spec.Image == image {
			return list.Items[i].DeepCopy(), 0, nil
		}
	}
	return nil, len(list.Items), nil
}

// ensure returns the PrepullImage of an image and makes it if there is none; nil if the image cannot be stored, which
// is logged and counted.
func (s *imageStore) ensure(ctx context.Context, image string) (*v1alpha1.PrepullImage, error) {
	if len(image) > workload.MaxImageLength {
		s.skip(image, "too_long")
		return nil, nil
	}
	if workload.ValidImage(image) != nil {
		s.skip(image, "invalid")
		return nil, nil
	}
	found, others, err := s.find(ctx, image)
	if found != nil || err != nil {
		return found, err
	}
	if others >= maxImages {
		s.skip(image, "too_many")
		return nil, nil
	}
	for _, name := range workload.ObjectNames(image) {
		made := learnedImage(name, image)
		err = s.client.Create(ctx, made, learnerOwner)
		if err == nil {
			return made, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("creating the PrepullImage: %w", err)
		}
		// Another replica was faster, or the cache is behind, or another image has the name.
		stored, err := s.stored(ctx, name)
		if err != nil {
			return nil, err
		}
		if stored.Spec.Image == image {
			return stored, nil
		}
	}
	s.skip(image, "name_taken")
	return nil, nil
}

// stored is a PrepullImage as the API server has it now. It is listed by its name: who may list need not be allowed to get.
func (s *imageStore) stored(ctx context.Context, name string) (*v1alpha1.PrepullImage, error) {
	var list v1alpha1.PrepullImageList
	if err := s.live.List(ctx, &list, client.MatchingFields{metav1.ObjectNameField: name}); err != nil {
		return nil, fmt.Errorf("listing the PrepullImage: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("prepullimages").GroupResource(), name)
	}
	return &list.Items[0], nil
}

// learnedImage constructs the PrepullImage of a learned image.
func learnedImage(name, image string) *v1alpha1.PrepullImage {
	return &v1alpha1.PrepullImage{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.Name,
				v1alpha1.LabelName:      v1alpha1.Name,
				v1alpha1.LabelComponent: v1alpha1.ComponentPrepull,
			},
		},
		Spec: v1alpha1.PrepullImageSpec{Image: image},
	}
}

// skip says that an image is not stored, and why.
func (s *imageStore) skip(image, reason string) {
	s.metrics.skipped.WithLabelValues(reason).Inc()
	s.complain.Do(func() {
		s.log.Info("image is not pre-pulled", "reason", reason, "image", image[:min(len(image), workload.MaxImageLength)])
	})
}

// update changes what the learner owns of o's status, and returns the version that it wrote, empty if it did not. If
// somebody else wrote first, change is asked again about what is stored then. A PrepullImage that is gone needs no update.
func (s *imageStore) update(ctx context.Context, o *v1alpha1.PrepullImage, change func(learned) learned) (version string, err error) {
	name := o.Name
	for range writeAttempts {
		have := learnedOf(o.Status)
		want := change(have)
		if want.equal(have) {
			return "", nil
		}
		if version, err = s.apply(ctx, o, want); err == nil {
			return version, nil
		}
		if !apierrors.IsConflict(err) {
			break
		}
		if o, err = s.stored(ctx, name); err != nil {
			break
		}
	}
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	return "", fmt.Errorf("updating the status of PrepullImage %s: %w", name, err)
}

// apply writes the learner's part of the status, all of it: what is left out would be removed. It returns the new version
// of the object.
func (s *imageStore) apply(ctx context.Context, o *v1alpha1.PrepullImage, want learned) (string, error) {
	u, err := statusPatch(o, want)
	if err != nil {
		return "", err
	}
	err = s.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), learnerOwner, client.ForceOwnership)
	return u.GetResourceVersion(), err
}

// statusPatch is the server-side apply patch of the learner's part of o's status, valid for the version of o alone.
func statusPatch(o *v1alpha1.PrepullImage, want learned) (*unstructured.Unstructured, error) {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&want)
	if err != nil {
		return nil, fmt.Errorf("converting the status: %w", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PrepullImage"))
	u.SetName(o.Name)
	u.SetResourceVersion(o.ResourceVersion)
	return u, nil
}
