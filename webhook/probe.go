package webhook

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// probeInterval is how often the API server is asked about its AlwaysPullImages admission plugin, and probeTime how long
// it has to answer.
const (
	probeInterval = 10 * time.Minute
	probeTime     = 10 * time.Second
)

// probe finds out whether the API server's AlwaysPullImages plugin is on: then pods have pull policy Always whatever
// anybody says, and refuses to store others.
type probe struct {
	client    client.Client
	namespace string
	image     string
	gauge     prometheus.Gauge
	on        atomic.Bool
	failing   bool
	log       logr.Logger
}

func newProbe(c client.Client, namespace, image string, registry prometheus.Registerer, log logr.Logger) (*probe, error) {
	p := &probe{
		client: c, namespace: namespace, image: image, log: log,
		gauge: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kube_prepull_always_pull_images",
			Help: "1 if the AlwaysPullImages admission plugin is on, so that pull policies are left alone; otherwise 0.",
		}),
	}
	if err := registry.Register(p.gauge); err != nil {
		return nil, fmt.Errorf("registering the metric of AlwaysPullImages: %w", err)
	}
	return p, nil
}

// NeedLeaderElection is false: every replica rewrites pods.
func (p *probe) NeedLeaderElection() bool { return false }

// Start asks until ctx ends.
func (p *probe) Start(ctx context.Context) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		err := p.ask(ctx)
		if err != nil && ctx.Err() == nil && !p.failing {
			// A policy may forbid the pod. Without an answer pods are admitted all the same: the plugin has the last word.
			p.log.Info("cannot tell whether AlwaysPullImages is on", "reason", err.Error())
		}
		p.failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ask lets the API server admit a pod as a dry run.
func (p *probe) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	pod := probePod(p.namespace, p.image)
	if err := p.client.Create(ctx, pod, client.DryRunAll); err != nil {
		return fmt.Errorf("creating a pod as a dry run: %w", err)
	}
	on := pod.Spec.Containers[0].ImagePullPolicy == corev1.PullAlways
	if p.on.Swap(on) != on {
		p.log.Info("the AlwaysPullImages admission plugin changed", "on", on)
	}
	p.gauge.Set(map[bool]float64{true: 1}[on])
	return nil
}

// probePod is one that Pod Security "restricted" admits, of an image that policies have to let in anyhow, with the requests
// and limits that a quota may demand. It names no user: some policies allow only those that they give.
func probePod(namespace, image string) *corev1.Pod {
	container := workload.RestrictedContainer("probe", image)
	little := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	container.Resources = corev1.ResourceRequirements{Requests: little, Limits: little}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: v1alpha1.Name + "-probe-"},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: ptr.To(false),
			SecurityContext:              workload.RestrictedPod(true),
			Containers:                   []corev1.Container{container},
		},
	}
}
