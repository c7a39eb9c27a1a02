package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// namespaces are the labels of those that there are.
type namespaces struct {
	client.Reader
	labels map[string]map[string]string
	made   time.Time
}

func (n *namespaces) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	labels, found := n.labels[key.Name]
	if !found {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
	}
	ns := into.(*metav1.PartialObjectMetadata)
	ns.Name, ns.Labels, ns.CreationTimestamp = key.Name, labels, metav1.NewTime(n.made)
	return nil
}

var pinning = map[string]string{"kube-prepull.io/rewrite": "latest"}

type policies struct {
	*pullPolicies
	server *dryRuns
	stored *namespaces
	lines  []string
}

func newPolicies(t *testing.T, labels map[string]map[string]string) *policies {
	p := &policies{server: &dryRuns{admit: admits}, stored: &namespaces{labels: labels, made: time.Now().Add(-time.Hour)}}
	log := funcr.New(func(_, args string) { p.lines = append(p.lines, args) }, funcr.Options{})
	var err error
	if p.pullPolicies, err = newPullPolicies(p.stored, probe{p.server, "noop"}, "kube-prepull", prometheus.NewRegistry(), log); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *policies) look(t *testing.T, namespace string) time.Duration {
	t.Helper()
	result, err := p.reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: namespace}})
	if err != nil {
		t.Error(err)
	}
	return result.RequeueAfter
}

func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var read dto.Metric
	if err := m.Write(&read); err != nil {
		t.Fatal(err)
	}
	return read.GetGauge().GetValue()
}

func TestPullPoliciesAreKnownByNamespace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		quota := apierrors.NewForbidden(corev1.Resource("pods"), "probe", errors.New("exceeded quota"))
		p := newPolicies(t, map[string]map[string]string{"shop": pinning})
		if p.rewritten("shop") {
			t.Error("known before it was asked")
		}
		for i, step := range []struct {
			admit func(*corev1.Pod) error
			after time.Duration
			want  bool
			next  time.Duration
			log   string // of one line; empty if there is none
		}{
			{admits, 0, true, policyInterval, ""},
			{demandsAlways, policyInterval / 2, true, policyInterval / 2, ""}, // not asked again yet
			{demandsAlways, policyInterval / 2, false, policyInterval, `"policy"="kept"`},
			{demandsAlways, policyInterval, false, policyInterval, ""},
			{admits, policyInterval, true, policyInterval, `"policy"="rewritten"`},
			{refuses(quota), policyInterval, true, maxPolicyRetry, ""}, // the answer of before holds
			{refuses(quota), policyTime, false, maxPolicyRetry, "exceeded quota"},
			{refuses(quota), maxPolicyRetry, false, maxPolicyRetry, ""},
			{setsAlways, maxPolicyRetry, false, policyInterval, `"policy"="kept"`},
		} {
			time.Sleep(step.after)
			p.server.become(step.admit)
			p.lines = nil
			if next := p.look(t, "shop"); next != step.next || p.rewritten("shop") != step.want {
				t.Errorf("step %d: %v, again in %v", i, p.rewritten("shop"), next)
			}
			if got := strings.Join(p.lines, "\n"); !strings.Contains(got, step.log) || len(p.lines) > 1 || (got == "") != (step.log == "") {
				t.Errorf("step %d logs %q", i, got)
			}
		}
		if kept := value(t, p.namespaces.WithLabelValues("kept")); kept != 1 {
			t.Errorf("%v namespaces are kept", kept)
		}
		p.stored.labels["shop"] = nil
		if next := p.look(t, "shop"); next != 0 || len(p.known) != 0 || value(t, p.namespaces.WithLabelValues("kept")) != 0 {
			t.Errorf("a namespace that pins no more is known: %v, again in %v", p.known, next)
		}
	})
}

// A service account comes a moment after its namespace, and until then every pod is refused.
func TestANewNamespaceIsAskedAboutSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPolicies(t, map[string]map[string]string{"shop": pinning})
		p.stored.made = time.Now()
		p.server.become(refuses(apierrors.NewForbidden(corev1.Resource("pods"), "probe", errors.New("error looking up service account"))))
		waited := time.Duration(0)
		for range 12 {
			next := p.look(t, "shop")
			if waited < time.Second && next > time.Second || next > maxPolicyRetry {
				t.Errorf("after %v again in %v", waited, next)
			}
			time.Sleep(next)
			waited += next
		}
		if waited < 4*time.Minute {
			t.Errorf("12 questions in %v", waited)
		}
	})
}

func TestWhichNamespacesAreAskedAbout(t *testing.T) {
	t.Parallel()
	p := newPolicies(t, map[string]map[string]string{"shop": pinning, "kube-system": pinning, "plain": {"kube-prepull.io/enabled": "true"}, "kube-prepull": nil})
	for name, want := range map[string]int{"shop": 1, "kube-system": 0, "plain": 0, "gone": 0, "kube-prepull": 1} {
		p.server.become(setsAlways)
		p.look(t, name)
		if p.server.asked != want {
			t.Errorf("%s: %d questions", name, p.server.asked)
		}
	}
	if plugin := value(t, p.plugin); plugin != 1 {
		t.Errorf("the plugin is %v", plugin)
	}
}

func TestWhatIsKnownOfNamespacesIsBounded(t *testing.T) {
	t.Parallel()
	labels := map[string]map[string]string{}
	for i := range maxPolicies + 10 {
		labels[fmt.Sprint("shop-", i)] = pinning
	}
	p := newPolicies(t, labels)
	for name := range labels {
		p.look(t, name)
	}
	if len(p.known) != maxPolicies {
		t.Errorf("%d are known", len(p.known))
	}
}
