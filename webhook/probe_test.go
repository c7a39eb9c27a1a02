package webhook

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// dryRuns answers a pod that is created in a dry run, and nothing else.
type dryRuns struct {
	client.Client
	mu     sync.Mutex
	asked  int
	policy corev1.PullPolicy
	err    error
}

func (d *dryRuns) Create(_ context.Context, obj client.Object, options ...client.CreateOption) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	var o client.CreateOptions
	o.ApplyOptions(options)
	if len(o.DryRun) != 1 || o.DryRun[0] != metav1.DryRunAll || obj.GetNamespace() != "kube-prepull" {
		return errors.New("this pod would be stored, or is not ours")
	}
	if d.policy != "" {
		obj.(*corev1.Pod).Spec.Containers[0].ImagePullPolicy = d.policy
	}
	return d.err
}

func (d *dryRuns) answer(policy corev1.PullPolicy, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.policy, d.err = policy, err
}

func TestTheProbeKnowsAlwaysPullImages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var logged sync.Mutex
		var lines []string
		log := funcr.New(func(_, args string) { logged.Lock(); defer logged.Unlock(); lines = append(lines, args) }, funcr.Options{})
		server := &dryRuns{}
		p, err := newProbe(server, "kube-prepull", "noop", prometheus.NewRegistry(), log)
		if err != nil {
			t.Fatal(err)
		}
		if p.on.Load() {
			t.Error("known before it was asked")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		for i, step := range []struct {
			policy corev1.PullPolicy
			err    error
			want   bool
			log    string // of one line; empty if there is none
		}{
			{"", nil, false, ""},
			{corev1.PullAlways, nil, true, `"on"=true`},
			{corev1.PullAlways, nil, true, ""},
			{"", errors.New("exceeded quota"), true, "exceeded quota"},
			{"", errors.New("exceeded quota"), true, ""},
			{corev1.PullAlways, nil, true, ""},
			{"", nil, false, `"on"=false`},
			{corev1.PullAlways, errors.New("denied"), false, "denied"},
		} {
			server.answer(step.policy, step.err)
			logged.Lock()
			lines = nil
			logged.Unlock()
			if i == 0 {
				go func() { done <- p.Start(ctx) }()
			} else {
				time.Sleep(probeInterval)
			}
			synctest.Wait()
			var gauge dto.Metric
			if err := p.gauge.Write(&gauge); err != nil {
				t.Fatal(err)
			}
			if p.on.Load() != step.want || (gauge.GetGauge().GetValue() == 1) != step.want || server.asked != i+1 {
				t.Errorf("step %d: %t, %v, asked %d times", i, p.on.Load(), gauge.GetGauge().GetValue(), server.asked)
			}
			if got := strings.Join(lines, "\n"); !strings.Contains(got, step.log) || len(lines) > 1 || (got == "") != (step.log == "") {
				t.Errorf("step %d logs %q", i, got)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTheProbesPodIsRestricted(t *testing.T) {
	t.Parallel()
	pod := probePod("kube-prepull", "noop")
	p, c := pod.Spec.SecurityContext, pod.Spec.Containers[0]
	restricted := *p.RunAsNonRoot && p.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault &&
		!*c.SecurityContext.AllowPrivilegeEscalation && c.SecurityContext.Capabilities.Drop[0] == "ALL" &&
		len(pod.Spec.Volumes) == 0 && !pod.Spec.HostNetwork && c.SecurityContext.Privileged == nil
	if !restricted || c.ImagePullPolicy != corev1.PullIfNotPresent || pod.Name != "" {
		t.Errorf("%+v", pod)
	}
}
