package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// policyInterval is how often a namespace is asked about, and maxPolicyRetry the same while it is not known. One that was
	// made just now is asked about sooner, but not within minPolicyRetry: its service account comes a moment after it.
	policyInterval                 = 10 * time.Minute
	minPolicyRetry, maxPolicyRetry = 500 * time.Millisecond, time.Minute

	// policyTime is how long an answer holds that is not renewed.
	policyTime = 30 * time.Minute

	// maxPolicies is in how many namespaces pull policies are rewritten at most.
	maxPolicies = 1000
)

// pullPolicy is what is known of the pull policy Always in a namespace.
type pullPolicy string

const (
	policyRewritten pullPolicy = "rewritten" // a pod with another one is admitted as it is
	policyKept      pullPolicy = "kept"      // something demands Always, or sets it
	policyUnknown   pullPolicy = "unknown"   // no pod that asks is admitted
)

// pullPolicies knows in which namespaces pods may have another pull policy than Always: an admission plugin or a policy may
// demand that one, everywhere or in some of them, and would refuse pods that are given another one. As long as nothing is known
// of a namespace, pull policies are left alone there.
type pullPolicies struct {
	cached client.Reader
	probe  probe
	own    string // the namespace that kube-prepull runs in
	log    logr.Logger

	plugin     prometheus.Gauge
	namespaces *prometheus.GaugeVec

	mu    sync.RWMutex
	known map[string]learned
}

// learned is what was learned of a namespace, and when; empty before the first answer.
type learned struct {
	policy pullPolicy
	at     time.Time
}

func newPullPolicies(cached client.Reader, p probe, own string, registry prometheus.Registerer, log logr.Logger) (*pullPolicies, error) {
	w := &pullPolicies{
		cached: cached, probe: p, own: own, log: log, known: map[string]learned{},
		plugin: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kube_prepull_always_pull_images",
			Help: "1 if the AlwaysPullImages admission plugin is on, or a policy that demands the same in the manager's own namespace; otherwise, and with rewritePullPolicy: false, 0.",
		}),
		namespaces: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kube_prepull_pull_policy_namespaces",
			Help: "Namespaces that pin, by what becomes of the pull policy Always of their pods: rewritten, kept (an admission plugin or a policy demands it) or unknown (kept, since no pod that asks is admitted).",
		}, []string{"policy"}),
	}
	for _, collector := range []prometheus.Collector{w.plugin, w.namespaces} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the metrics of pull policies: %w", err)
		}
	}
	w.count()
	return w, nil
}

// setup has every replica ask, for each of them rewrites pods.
func (w *pullPolicies) setup(mgr ctrl.Manager) error {
	everyReplica := false
	err := ctrl.NewControllerManagedBy(mgr).
		Named("pull-policies").
		For(workload.NamespaceMetadata()).
		WithOptions(controller.Options{NeedLeaderElection: &everyReplica}).
		Complete(reconcile.Func(w.reconcile))
	if err != nil {
		return fmt.Errorf("setting up the controller of pull policies: %w", err)
	}
	return nil
}

// rewritten tells whether pods of a namespace may have another pull policy than Always. It asks nobody.
func (w *pullPolicies) rewritten(namespace string) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.known[namespace].policy == policyRewritten
}

// reconcile asks about one namespace, and again after a while.
func (w *pullPolicies) reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	ns := workload.NamespaceMetadata()
	err := w.cached.Get(ctx, client.ObjectKey{Name: req.Name}, ns)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("getting the namespace: %w", err)
	}
	asks := err == nil && ns.DeletionTimestamp == nil && (req.Name == w.own || !workload.Untouchable(req.Name, w.own) && workload.Rewrites(ns))
	before, now := w.of(req.Name), time.Now()
	if !asks {
		w.learn(req.Name, nil)
		return reconcile.Result{}, nil
	}
	// What is known and new needs no question: labels of a namespace change for other reasons too.
	if due := before.dueAt(); due.After(now) {
		return reconcile.Result{RequeueAfter: due.Sub(now)}, nil
	}
	policy, why := w.probe.ask(ctx, req.Name)
	if ctx.Err() != nil {
		return reconcile.Result{}, nil
	}
	after := before.learn(policy, now)
	if after.policy != before.policy && (after.policy != policyRewritten || before.policy != "") {
		w.log.Info("what becomes of the pull policy Always changed", "namespace", req.Name, "policy", after.policy, "reason", reasonOf(why))
	}
	w.learn(req.Name, &after)
	if policy == policyUnknown {
		return reconcile.Result{RequeueAfter: min(max(minPolicyRetry, now.Sub(ns.CreationTimestamp.Time)), maxPolicyRetry)}, nil
	}
	return reconcile.Result{RequeueAfter: policyInterval}, nil
}

// dueAt is when a namespace has to be asked about again.
func (l learned) dueAt() time.Time {
	switch l.policy {
	case policyRewritten, policyKept:
		return l.at.Add(policyInterval)
	}
	return time.Time{}
}

// learn is what is known after an answer. One that says nothing leaves an earlier one as it is, as long as that holds.
func (l learned) learn(answer pullPolicy, now time.Time) learned {
	if answer == policyUnknown && l.policy != "" && l.policy != policyUnknown && now.Sub(l.at) < policyTime {
		return l
	}
	return learned{answer, now}
}

func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (w *pullPolicies) of(namespace string) learned {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.known[namespace]
}

// learn keeps what is known of a namespace, nil if it is none to ask about any more.
func (w *pullPolicies) learn(namespace string, l *learned) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, known := w.known[namespace]
	switch {
	case l == nil:
		delete(w.known, namespace)
	case known || len(w.known) < maxPolicies:
		w.known[namespace] = *l
	}
	w.count()
}

// count sets the metrics to what is known.
func (w *pullPolicies) count() {
	counts := map[pullPolicy]int{policyRewritten: 0, policyKept: 0, policyUnknown: 0}
	for namespace, l := range w.known {
		if namespace != w.own {
			counts[l.policy]++
		}
	}
	for policy, n := range counts {
		w.namespaces.WithLabelValues(string(policy)).Set(float64(n))
	}
	w.plugin.Set(map[bool]float64{true: 1}[w.known[w.own].policy == policyKept])
}
