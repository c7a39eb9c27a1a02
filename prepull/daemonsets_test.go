package prepull

import (
	"context"
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// admitting is an API server that refuses pods with image volumes, or all of them, with an error.
type admitting struct {
	client.Client
	refusal error
	all     bool
}

func (c *admitting) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	if c.all || plan.HeldIn(&o.(*corev1.Pod).Spec) > 0 {
		return c.refusal
	}
	return nil
}

func TestWhetherImageVolumesAreAdmitted(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "p", errors.New("volumes"))
	for name, tc := range map[string]struct {
		api   admitting
		takes bool
		err   bool
	}{
		"they are":                    {admitting{}, true, false},
		"a policy does not know them": {admitting{refusal: forbidden}, false, false},
		"a webhook that names no code refuses them":   {admitting{refusal: apierrors.NewBadRequest("denied")}, false, false},
		"all pods are refused":                        {admitting{refusal: forbidden, all: true}, true, false},
		"a webhook that does not answer says no more": {admitting{refusal: apierrors.NewInternalError(errors.New("no answer"))}, false, true},
	} {
		w := &daemonSetWriter{client: &tc.api}
		takes, err := w.admitsVolumes(t.Context(), holding())
		if takes != tc.takes || (err != nil) != tc.err {
			t.Errorf("%s: %v, %v", name, takes, err)
		}
	}
}

// older is an API server that drops image volumes from the DaemonSets that it stores, beside one that takes pods with them.
type older struct{ admitting }

func (c *older) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	ds, ok := o.(*appsv1.DaemonSet)
	if !ok {
		return c.admitting.Create(ctx, o, options...)
	}
	ds.Spec.Template.Spec = plan.WithoutHeld(ds.Spec.Template.Spec)
	return nil
}

func TestWhatWasStoredIsLookedAt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		api   client.Client
		drops bool
	}{
		"as it was written":     {&stores{}, false},
		"without image volumes": {&older{}, true},
	} {
		w := &daemonSetWriter{client: tc.api, accepted: map[string]string{}}
		err := w.write(t.Context(), nil, holding())
		if errors.Is(err, errNoVolumes) != tc.drops || !tc.drops && err != nil || w.noVolumes != tc.drops || w.takesVolumes == tc.drops {
			t.Errorf("%s: %v, takes image volumes: %v, has none: %v", name, err, w.takesVolumes, w.noVolumes)
		}
	}
}

// stores is an API server that stores what it gets.
type stores struct{ client.Client }

func (*stores) Create(context.Context, client.Object, ...client.CreateOption) error { return nil }

// holding is a DaemonSet whose pods hold an image.
func holding() *appsv1.DaemonSet {
	ds := &appsv1.DaemonSet{}
	ds.Spec.Template.Spec = corev1.PodSpec{
		Containers: []corev1.Container{{Name: "wait", VolumeMounts: []corev1.VolumeMount{{Name: "app", MountPath: "/app"}}}},
		Volumes:    []corev1.Volume{{Name: "app", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "registry.test/app:v1"}}}},
	}
	return ds
}
