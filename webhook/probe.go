package webhook

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// probeInterval is how often the API server is asked; what it answers changes with its command line.
	probeInterval = 10 * time.Minute

	// probeImage is never pulled.
	probeImage = "registry.k8s.io/pause:3.10"

	// probeUser is any but root.
	probeUser = 65532
)

// probe finds out whether the API server has every image pulled at every start, which its AlwaysPullImages admission
// plugin does. No API tells, so it is shown a pod that is never stored.
type probe struct {
	client    client.Client
	namespace string
	metrics   *pinMetrics
	log       logr.Logger
	always    atomic.Bool

	// failing is set while the API server refuses to answer.
	failing bool
}

func newProbe(mgr ctrl.Manager, namespace string, m *pinMetrics) *probe {
	return &probe{client: mgr.GetClient(), namespace: namespace, metrics: m, log: mgr.GetLogger().WithName("probe")}
}

// alwaysPull is true if the API server is known to set imagePullPolicy Always.
func (p *probe) alwaysPull() bool { return p.always.Load() }

// NeedLeaderElection is false: each replica answers admissions.
func (p *probe) NeedLeaderElection() bool { return false }

// Start asks until ctx ends.
func (p *probe) Start(ctx context.Context) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		p.once(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// once asks, and keeps what is known if there is no answer.
func (p *probe) once(ctx context.Context) {
	pod := probePod(p.namespace)
	err := p.client.Create(ctx, pod, client.DryRunAll)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		if !p.failing {
			p.log.Error(fmt.Errorf("creating a pod in a dry run: %w", err), "whether the admission plugin AlwaysPullImages is on is not known")
		}
		p.failing = true
		return
	}
	p.failing = false
	always := pod.Spec.Containers[0].ImagePullPolicy == corev1.PullAlways
	if p.always.Swap(always) == always {
		return
	}
	value, message := 0.0, "the admission plugin AlwaysPullImages is off"
	if always {
		value, message = 1, "the admission plugin AlwaysPullImages is on"
	}
	p.metrics.alwaysPull.Set(value)
	p.log.Info(message)
}

// probePod passes Pod Security restricted, and has the requests and limits that a quota may demand.
func probePod(namespace string) *corev1.Pod {
	little := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: v1alpha1.Name + "-probe-", Labels: map[string]string{v1alpha1.LabelName: v1alpha1.Name},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: ptr.To(false),
			EnableServiceLinks:           ptr.To(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   ptr.To(true),
				RunAsUser:      ptr.To[int64](probeUser),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name:            "probe",
				Image:           probeImage,
				ImagePullPolicy: corev1.PullIfNotPresent,
				Resources:       corev1.ResourceRequirements{Requests: little, Limits: little},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					ReadOnlyRootFilesystem:   ptr.To(true),
				},
			}},
		},
	}
}
