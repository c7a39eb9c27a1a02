// Package webhook sees what is admitted to the cluster and never stands in its way: whatever happens inside, the
// answer is Allowed, or a failed call that the API server ignores.
package webhook

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	"github.com/go-logr/logr"
)

// Path is where the webhook server takes AdmissionReviews that only teach. Those of namespaces whose images are pinned come
// to RewritePath, a slash and a secret.
const (
	Path        = "/observe"
	RewritePath = "/rewrite"
)

const (
	// maxBody is what a review may have: two objects of 3 MiB, the API server's limit, and 1 MiB for the rest.
	maxBody = 7 << 20

	// maxInFlight bounds the memory of all reviews that are being read: dozens of the largest Deployments, thousands
	// of ordinary pods.
	maxInFlight = 32 << 20

	// maxKept bounds the memory that is kept for the next body. With more of it a small body that comes slowly would hold
	// the memory of a large one.
	maxKept = 64 << 10
)

// outcome is what became of an admission, one of the constants below.
type outcome string

const (
	hinted  outcome = "hinted"  // the learner was told to look at the object
	dropped outcome = "dropped" // it should have been told, but there was no room; the resync will find the object
	ignored outcome = "ignored" // not a kind or an operation to learn from
	dryRun  outcome = "dryrun"  // nothing will be stored
	failed  outcome = "error"   // malformed, or a panic
)

// handler is the shell that fails open. controller-runtime's own answers errors and panics with a denial, which the
// API server honours whatever the failure policy says.
type handler struct {
	learn    func(workload.Hint) bool
	rewriter *rewriter
	// known is true for the path to which the API server sends reviews that are to be pinned.
	known         func(ctx context.Context, path string) bool
	admissionTime time.Duration // see clock.Clocks
	metrics       *admissionMetrics
	log           logr.Logger
	// What anybody may send has a budget of its own.
	budget, rewriteBudget *bodyBudget
	bodies                sync.Pool
}

func newHandler(learn func(workload.Hint) bool, w *rewriter, known func(context.Context, string) bool, admissionTime time.Duration, m *admissionMetrics, log logr.Logger) *handler {
	return &handler{
		learn:         learn,
		rewriter:      w,
		known:         known,
		admissionTime: admissionTime,
		metrics:       m,
		log:           log,
		budget:        newBodyBudget(maxInFlight),
		rewriteBudget: newBodyBudget(maxInFlight),
		bodies:        sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	start := time.Now()
	ctx, cancel := context.WithDeadline(req.Context(), start.Add(h.patience(req)))
	defer cancel()
	a, outcome, status := h.serve(ctx, w, req)
	if status == http.StatusOK {
		a.write(w)
	} else {
		http.Error(w, http.StatusText(status), status)
	}
	h.metrics.observe(outcome, time.Since(start))
}

// patience is how long a request may take: less than the API server waits for the answer, which it says in the URL.
func (h *handler) patience(req *http.Request) time.Duration {
	limit, err := time.ParseDuration(req.URL.Query().Get("timeout"))
	if err != nil || limit <= 0 {
		return h.admissionTime
	}
	return min(h.admissionTime, limit*4/5)
}

// serve reads a review and acts on it. A status other than 200 means that there is no review to answer.
func (h *handler) serve(ctx context.Context, w http.ResponseWriter, req *http.Request) (answer, outcome, int) {
	size, budget, rewrite := req.ContentLength, h.budget, req.URL.Path != Path
	if rewrite {
		budget = h.rewriteBudget
	}
	switch {
	case rewrite && !h.known(ctx, req.URL.Path):
		return answer{}, failed, http.StatusNotFound
	case size < 0:
		return answer{}, failed, http.StatusLengthRequired
	case size > maxBody:
		return answer{}, failed, http.StatusRequestEntityTooLarge
	}
	// The server has a deadline for a body; this is an earlier one. Not every ResponseWriter has any (those of tests do not).
	leave := func() { _ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) }
	client := clientOf(req)
	reserved := budget.reserve(client, size, leave)
	if reserved == nil {
		// Waiting would slow the cluster down; a call that fails at once does not.
		return answer{}, dropped, http.StatusServiceUnavailable
	}
	defer budget.release(reserved)

	body := h.bodies.Get().(*bytes.Buffer)
	defer func() {
		if body.Cap() <= maxKept {
			h.bodies.Put(body)
		}
	}()
	body.Reset()
	body.Grow(int(size) + bytes.MinRead)
	if _, err := body.ReadFrom(req.Body); err != nil {
		return answer{}, failed, http.StatusBadRequest
	}
	budget.keep(reserved)

	a, outcome := h.admit(ctx, body.Bytes(), client, rewrite)
	if a.uid == "" {
		return answer{}, outcome, http.StatusBadRequest
	}
	return a, outcome, http.StatusOK
}

// clientOf is the address that a request comes from.
func clientOf(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}

// admit turns a review into a hint, if there is one in it, and into a verdict where images are pinned. It survives
// whatever it is given.
func (h *handler) admit(ctx context.Context, raw []byte, client string, rewrite bool) (a answer, result outcome) {
	var r review
	defer func() {
		if p := recover(); p != nil {
			h.log.Error(fmt.Errorf("panic: %v", p), "admission let through", "uid", r.uid, "stack", string(debug.Stack()))
			a, result = answer{uid: r.uid}, failed
		}
	}()
	if err := r.parse(raw); err != nil {
		h.log.V(1).Info("admission let through", "uid", r.uid, "reason", err.Error())
		return answer{uid: r.uid}, failed
	}
	a.uid, r.hint.Client = r.uid, client
	if rewrite && rewritten(&r) {
		v, err := h.rewriter.rewrite(ctx, &r)
		if err == nil {
			a.verdict, err = v.encode()
		}
		if err != nil {
			h.log.Info("admission let through as it is", "kind", r.hint.Kind, "namespace", r.hint.Namespace, "name", r.hint.Name, "reason", err.Error())
		}
	}
	switch {
	case !observed(&r):
		return a, ignored
	case r.dryRun:
		return a, dryRun
	case !h.learn(r.hint):
		return a, dropped
	}
	return a, hinted
}
