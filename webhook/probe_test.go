package webhook

import (
	"context"
	"errors"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// dryRuns admits pods that are created in dry runs, or not, and nothing else.
type dryRuns struct {
	client.Client

	mu    sync.Mutex
	asked int
	admit func(pod *corev1.Pod) error
}

func (d *dryRuns) Create(_ context.Context, obj client.Object, options ...client.CreateOption) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	var o client.CreateOptions
	o.ApplyOptions(options)
	if len(o.DryRun) != 1 || o.DryRun[0] != metav1.DryRunAll {
		return errors.New("this pod would be stored")
	}
	return d.admit(obj.(*corev1.Pod))
}

func (d *dryRuns) become(admit func(pod *corev1.Pod) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked, d.admit = 0, admit
}

func admits(*corev1.Pod) error { return nil }

// setsAlways is what the AlwaysPullImages admission plugin does, and demandsAlways what a policy does.
func setsAlways(pod *corev1.Pod) error {
	for i := range pod.Spec.Containers {
		pod.Spec.Containers[i].ImagePullPolicy = corev1.PullAlways
	}
	return nil
}

func demandsAlways(pod *corev1.Pod) error {
	for _, c := range pod.Spec.Containers {
		if c.ImagePullPolicy != corev1.PullAlways {
			return apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, pod.GenerateName, nil)
		}
	}
	return nil
}

func refuses(err error) func(*corev1.Pod) error { return func(*corev1.Pod) error { return err } }

func TestWhatTheProbeFindsOut(t *testing.T) {
	t.Parallel()
	quota := apierrors.NewForbidden(corev1.Resource("pods"), "probe", errors.New("exceeded quota"))
	for name, tc := range map[string]struct {
		admit   func(*corev1.Pod) error
		want    pullPolicy
		asked   int
		refusal bool
	}{
		"a pod is admitted as it is": {admits, policyRewritten, 1, false},
		"something sets Always":      {setsAlways, policyKept, 1, false},
		"something demands Always":   {demandsAlways, policyKept, 2, true},
		"a webhook does, with a status of no kind": {func(pod *corev1.Pod) error {
			if demandsAlways(pod) == nil {
				return nil
			}
			return &apierrors.StatusError{ErrStatus: metav1.Status{Code: 400, Message: "admission webhook denied the request"}}
		}, policyKept, 2, true},
		"every pod is refused": {refuses(quota), policyUnknown, 2, true},
		"an injector puts its own container first": {func(pod *corev1.Pod) error {
			sidecar := corev1.Container{Name: "proxy", ImagePullPolicy: corev1.PullAlways}
			pod.Spec.Containers = append([]corev1.Container{sidecar}, pod.Spec.Containers...)
			return nil
		}, policyRewritten, 1, false},
		"the pod becomes another one":  {func(pod *corev1.Pod) error { pod.Spec.Containers[0].Name = "other"; return nil }, policyUnknown, 1, true},
		"the API server is busy":       {refuses(apierrors.NewTooManyRequests("later", 1)), policyUnknown, 1, true},
		"the API server does not work": {refuses(apierrors.NewInternalError(errors.New("etcd"))), policyUnknown, 1, true},
		"nobody answers":               {refuses(context.DeadlineExceeded), policyUnknown, 1, true},
		"the namespace is gone":        {refuses(apierrors.NewNotFound(corev1.Resource("namespaces"), "shop")), policyUnknown, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &dryRuns{admit: tc.admit}
			got, err := probe{server, "noop"}.ask(t.Context(), "shop")
			if got != tc.want || server.asked != tc.asked || (err != nil) != tc.refusal {
				t.Errorf("%s after %d questions, %v", got, server.asked, err)
			}
		})
	}
}

func TestTheProbesPodIsRestricted(t *testing.T) {
	t.Parallel()
	pod := probePod("kube-prepull", "noop", corev1.PullIfNotPresent)
	p, c := pod.Spec.SecurityContext, pod.Spec.Containers[0]
	restricted := *p.RunAsNonRoot && p.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault &&
		!*c.SecurityContext.AllowPrivilegeEscalation && c.SecurityContext.Capabilities.Drop[0] == "ALL" &&
		len(pod.Spec.Volumes) == 0 && !pod.Spec.HostNetwork && c.SecurityContext.Privileged == nil
	if !restricted || c.ImagePullPolicy != corev1.PullIfNotPresent || pod.Name != "" || pod.Labels["kube-prepull.io/enabled"] != "false" {
		t.Errorf("%+v", pod)
	}
}
