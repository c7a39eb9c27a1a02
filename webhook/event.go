package webhook

import (
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Reasons of the events about pins.
const (
	tagNotPinned     = "TagNotPinned"     // no digest was found for a tag
	podNotPinned     = "PodNotPinned"     // a pod has the tag and its template a pin
	pinnedDigestGone = "PinnedDigestGone" // a pod waits for a digest that the registry no longer has
)

const (
	// eventAction is what went wrong, which an event has to name.
	eventAction = "Pin"

	// maxNote is what an event may say, in bytes.
	// Source: NoteLengthLimit in k8s.io/kubernetes/pkg/apis/core/validation/events.go.
	maxNote = 1024

	// tellAgain is how long one problem is not told again. An API server keeps an event for an hour by default: a problem
	// that lasts is always to be seen, and hardly ever twice.
	tellAgain = time.Hour

	// maxTold is how many problems are remembered as told; beyond it the oldest are forgotten, and may be told again.
	maxTold = 10_000
)

// pinMetrics count what became of pins beside admission.
type pinMetrics struct {
	problems   *prometheus.CounterVec
	alwaysPull prometheus.Gauge
}

func newPinMetrics(registry prometheus.Registerer) (*pinMetrics, error) {
	m := &pinMetrics{
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_pin_problems_total",
			Help: "Events about pins, by reason: TagNotPinned (a tag could not be resolved), PodNotPinned (a pod was created with the tag although its template is pinned) or PinnedDigestGone (a pod waits for a digest that the registry no longer has). A problem that lasts is counted once an hour.",
		}, []string{"reason"}),
		alwaysPull: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kube_prepull_always_pull_images",
			Help: "1 if the API server sets imagePullPolicy Always on every container (the AlwaysPullImages admission plugin), else 0.",
		}),
	}
	for _, collector := range []prometheus.Collector{m.problems, m.alwaysPull} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the metrics of pins: %w", err)
		}
	}
	for _, reason := range []string{tagNotPinned, podNotPinned, pinnedDigestGone} {
		m.problems.WithLabelValues(reason) // every reason is there from the start, with 0
	}
	return m, nil
}

// problem is what an event tells.
type problem struct {
	reason string

	// workload is what the event is about, with its UID: kubectl describe asks for it.
	workload corev1.ObjectReference

	// pod is an example, if there is one.
	pod *corev1.ObjectReference

	// container and image tell problems of one workload apart.
	container, image string

	note string
}

// toldProblem is what makes two problems the same.
type toldProblem struct {
	workload                 types.UID
	reason, container, image string
}

// eventWriter writes one Warning event for a problem, and not again for a while.
type eventWriter struct {
	recorder recorder.EventRecorder
	metrics  *pinMetrics
	mu       sync.Mutex
	told     *cache.LRUExpireCache
}

func newEventWriter(mgr ctrl.Manager, m *pinMetrics) *eventWriter {
	return &eventWriter{recorder: mgr.GetEventRecorder(v1alpha1.Name), metrics: m, told: cache.NewLRUExpireCache(maxTold)}
}

// write tells a problem unless it was told lately. It does not block.
func (w *eventWriter) write(p problem) {
	if !w.first(toldProblem{p.workload.UID, p.reason, p.container, p.image}) {
		return
	}
	var related runtime.Object // not a nil pointer in an interface, which the recorder takes for an object
	if p.pod != nil {
		related = p.pod
	}
	w.recorder.Eventf(&p.workload, related, corev1.EventTypeWarning, p.reason, eventAction, "%s", shortened(p.note, maxNote))
	w.metrics.problems.WithLabelValues(p.reason).Inc()
}

// first is true the first time in a while that it is asked about a key.
func (w *eventWriter) first(key any) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lately(key) {
		return false
	}
	w.told.Add(key, nil, tellAgain)
	return true
}

// lately is true for a key that first was asked about in a while.
func (w *eventWriter) lately(key any) bool {
	_, found := w.told.Get(key)
	return found
}

// shortened cuts text off at a number of bytes, between two characters.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := most - len("…")
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
