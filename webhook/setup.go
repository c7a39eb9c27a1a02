package webhook

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/webhook/audit"
	"github.com/kube-prepull/kube-prepull/webhook/digest"
)

// readyTime is how long the check for readiness waits for the namespaces.
const readyTime = 500 * time.Millisecond

// Options are what the webhook needs of others.
type Options struct {
	// Namespace is the one that kube-prepull runs in. Nothing in it is pinned.
	Namespace string

	// Configuration is the name of the MutatingWebhookConfiguration.
	Configuration string

	// Learn takes a hint and says whether there was room for it. It must not block.
	Learn func(workload.Hint) bool

	// Registries are asked where tags point.
	Registries *digest.Registries

	// PullSecrets is true if the pull secrets of workloads and their service accounts are used to resolve tags.
	PullSecrets bool

	// IfNotPresent is true if pods whose image is replaced get that pull policy where they have Always and nothing demands it.
	IfNotPresent bool

	// ProbeImage is that of pods which are created as dry runs, to see what becomes of their pull policy.
	ProbeImage string

	// AuditInterval is how often all pods of namespaces whose images are pinned are looked at.
	AuditInterval time.Duration

	// Clocks are what is waited. They are not configured.
	Clocks clock.Clocks
}

// Webhook answers reviews at Path and RewritePath.
type Webhook struct {
	http.Handler

	// Ready is nil once namespaces are known. Until then no image would be pinned.
	Ready healthz.Checker
}

// SetupWithManager adds to the manager what the webhook needs beside requests. The caller serves it: any client may
// send anything, so the server has to bound connections, and the time and the headers of a request.
func SetupWithManager(mgr ctrl.Manager, o Options) (*Webhook, error) {
	m, err := newMetrics(metrics.Registry)
	if err != nil {
		return nil, err
	}
	digests, err := digest.NewResolver(o.Registries, o.Clocks.ResolveTime, metrics.Registry)
	if err != nil {
		return nil, err
	}
	p, err := newPullPolicies(mgr.GetClient(), probe{mgr.GetClient(), o.ProbeImage}, o.Namespace, metrics.Registry, mgr.GetLogger().WithName("pull-policies"))
	if err != nil {
		return nil, err
	}
	report, err := audit.SetupWithManager(mgr, audit.Options{Namespace: o.Namespace, Interval: o.AuditInterval, Pending: o.Clocks.PendingInterval}, metrics.Registry)
	if err != nil {
		return nil, fmt.Errorf("setting up the audit of pins: %w", err)
	}
	if o.IfNotPresent {
		if err := p.setup(mgr); err != nil {
			return nil, err
		}
	}
	w := &rewriter{
		cached:       mgr.GetClient(),
		own:          o.Namespace,
		labelTime:    o.Clocks.LabelTime,
		revisions:    revisions{mgr.GetAPIReader()},
		resolve:      digests.Resolve,
		ifNotPresent: p.rewritten,
		report:       report,
		metrics:      m,
		log:          mgr.GetLogger().WithName("rewriter"),
	}
	if o.PullSecrets {
		w.keys = newPullKeys(mgr.GetAPIReader(), o.Clocks.AdmissionTime)
	}
	at := address{mgr.GetClient(), o.Configuration}
	if err := at.setup(mgr); err != nil {
		return nil, err
	}
	h := newHandler(o.Learn, w, at.known, o.Clocks.AdmissionTime, m, mgr.GetLogger().WithName("webhook"))
	mux := http.NewServeMux()
	mux.Handle(Path, h)
	mux.Handle(RewritePath+"/", h)
	return &Webhook{Handler: mux, Ready: func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), readyTime)
		defer cancel()
		return w.cached.Get(ctx, client.ObjectKey{Name: o.Namespace}, workload.NamespaceMetadata())
	}}, nil
}
