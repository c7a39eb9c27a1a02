// Package webhook sees what is admitted to the cluster and never stands in its way: whatever happens inside, the
// answer is Allowed, or a failed call that the API server ignores.
package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/semaphore"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Path is where the webhook server takes AdmissionReviews that only teach, RewritePath where it takes those of
// namespaces whose images are pinned.
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

	// readTimeout is for one body; the API server gives up on a review about as soon.
	readTimeout = 3 * time.Second
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

// Options are what the webhook needs of others.
type Options struct {
	// Learn takes a hint and says whether there was room for it. It must not block.
	Learn func(Hint) bool
}

// SetupWithManager serves Path on the manager's webhook server.
func SetupWithManager(mgr ctrl.Manager, o Options) error {
	m, err := newMetrics(metrics.Registry)
	if err != nil {
		return err
	}
	mgr.GetWebhookServer().Register(Path, newHandler(o, m, mgr.GetLogger().WithName("webhook")))
	return nil
}

// handler is the shell that fails open. controller-runtime's own answers errors and panics with a denial, which the
// API server honours whatever the failure policy says.
type handler struct {
	learn       func(Hint) bool
	metrics     *admissionMetrics
	log         logr.Logger
	readTimeout time.Duration
	room        *semaphore.Weighted
	bodies      sync.Pool
}

func newHandler(o Options, m *admissionMetrics, log logr.Logger) *handler {
	return &handler{
		learn:       o.Learn,
		metrics:     m,
		log:         log,
		readTimeout: readTimeout,
		room:        semaphore.NewWeighted(maxInFlight),
		bodies:      sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	start := time.Now()
	uid, outcome, status := h.serve(w, req)
	if status == http.StatusOK {
		answer(w, uid)
	} else {
		http.Error(w, http.StatusText(status), status)
	}
	h.metrics.observe(outcome, time.Since(start))
}

// serve reads a review and acts on it. A status other than 200 means that there is no review to answer.
func (h *handler) serve(w http.ResponseWriter, req *http.Request) (types.UID, outcome, int) {
	size := req.ContentLength
	switch {
	case size < 0:
		return "", failed, http.StatusLengthRequired
	case size > maxBody:
		return "", failed, http.StatusRequestEntityTooLarge
	case !h.room.TryAcquire(size):
		// Waiting would slow the cluster down; a call that fails at once does not.
		return "", dropped, http.StatusServiceUnavailable
	}
	defer h.room.Release(size)

	body := h.bodies.Get().(*bytes.Buffer)
	defer h.bodies.Put(body)
	body.Reset()
	body.Grow(int(size) + bytes.MinRead)
	// Not every ResponseWriter has deadlines (those of tests do not); the server's own are the fallback.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.readTimeout))
	if _, err := body.ReadFrom(req.Body); err != nil {
		return "", failed, http.StatusBadRequest
	}

	uid, outcome := h.observe(body.Bytes())
	if uid == "" {
		return "", outcome, http.StatusBadRequest
	}
	return uid, outcome, http.StatusOK
}

// observe turns a review into a hint, if there is one in it. It survives whatever it is given.
func (h *handler) observe(raw []byte) (uid types.UID, result outcome) {
	var r review
	defer func() {
		if p := recover(); p != nil {
			h.log.Error(fmt.Errorf("panic: %v", p), "admission let through", "uid", r.uid, "stack", string(debug.Stack()))
			uid, result = r.uid, failed
		}
	}()
	if err := r.parse(raw); err != nil {
		h.log.V(1).Info("admission let through", "uid", r.uid, "reason", err.Error())
		return r.uid, failed
	}
	switch {
	case !observed(&r):
		return r.uid, ignored
	case r.dryRun:
		return r.uid, dryRun
	case !h.learn(r.hint):
		return r.uid, dropped
	}
	return r.uid, hinted
}

// answer allows the admission with this uid.
func answer(w http.ResponseWriter, uid types.UID) {
	w.Header().Set("Content-Type", "application/json")
	// An error here is a connection that is gone, and with it whoever could be told.
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: &admissionv1.AdmissionResponse{UID: uid, Allowed: true},
	})
}
