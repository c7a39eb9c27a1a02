package learn

import (
	"context"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// unseeing reads nothing of what is stored.
type unseeing struct{ client.Client }

func (unseeing) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("prepullimages").GroupResource(), key.Name)
}

func (unseeing) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// What no kubelet takes for an image is not stored: the API server would refuse it, each time that it is seen.
func TestWhatIsNoImageIsNotStored(t *testing.T) {
	t.Parallel()
	for image, reason := range map[string]string{"a b": "invalid", "App:v1": "invalid", "${IMAGE}": "invalid", strings.Repeat("a", 1025): "too_long"} {
		metrics := testMetrics(t)
		s := newImageStore(nil, nil, logr.Discard(), metrics)
		if o, err := s.ensure(t.Context(), image); o != nil || err != nil {
			t.Errorf("the PrepullImage of %q is %v, %v", image, o, err)
		}
		if got := valueOf(t, metrics.skipped.WithLabelValues(reason)); got != 1 {
			t.Errorf("%q is counted %v times as %s", image, got, reason)
		}
	}
}

// The images have the same slug and, found by trying, the same hash: only one can have the name.
func TestImagesWithOneNameAreBothLearned(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).
		WithIndex(&v1alpha1.PrepullImage{}, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).Build()
	s := newImageStore(c, c, logr.Discard(), testMetrics(t))
	const first, second = "r1791.test/a", "r44621.test/a"
	for _, step := range []struct{ image, name string }{
		{first, workload.ObjectName(second)},
		{second, workload.ObjectNames(second)[1]},
		{first, workload.ObjectName(first)},
		{second, workload.ObjectNames(second)[1]},
	} {
		o, err := s.ensure(t.Context(), step.image)
		if err != nil || o == nil || o.Name != step.name || o.Spec.Image != step.image {
			t.Fatalf("the PrepullImage of %s is %v, %v, want %s", step.image, o, err, step.name)
		}
		if found, _, err := s.find(t.Context(), step.image); err != nil || found == nil || found.Name != step.name {
			t.Errorf("%s is found as %v, %v, want %s", step.image, found, err, step.name)
		}
	}
	// A cache that is behind does not know them.
	behind := newImageStore(c, c, logr.Discard(), testMetrics(t))
	behind.client = unseeing{c}
	if o, err := behind.ensure(t.Context(), second); err != nil || o == nil || o.Name != workload.ObjectNames(second)[1] {
		t.Errorf("with a cache that is behind it is %v, %v", o, err)
	}
	if err := c.Delete(t.Context(), learnedImage(workload.ObjectName(first), first)); err != nil {
		t.Fatal(err)
	}
	if o, err := s.ensure(t.Context(), second); err != nil || o == nil || o.Name != workload.ObjectNames(second)[1] {
		t.Errorf("once the first is gone the second is %v, %v: it keeps its name", o, err)
	}
}
