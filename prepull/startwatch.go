package prepull

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	toolswatch "k8s.io/client-go/tools/watch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/prepull/pulled"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// startWatch counts the containers that start in opted-in namespaces, on the leader. It holds no events: a cluster has too
// many, and one is all that it looks at.
type startWatch struct {
	cached    client.Reader
	live      client.WithWatch
	namespace string // of the prepull pods
	retry     time.Duration
	log       logr.Logger
	metrics   *startMetrics

	ledger pulled.Ledger

	// last is the resource version up to which starts are counted; empty until it is known from when on.
	last string
}

func newStartWatch(mgr ctrl.Manager, o Options, m *startMetrics) (*startWatch, error) {
	live, err := client.NewWithWatch(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("creating a client that watches: %w", err)
	}
	return &startWatch{cached: mgr.GetClient(), live: live, namespace: o.Namespace, retry: o.Clocks.StartsRetry, log: mgr.GetLogger().WithName("starts"), metrics: m}, nil
}

// Start counts until ctx ends. What started before is not counted: the leader of that time did. Where events were missed,
// because the watch was interrupted for too long, they are made up for.
func (w *startWatch) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		err := w.catchUp(ctx)
		if err == nil {
			err = w.follow(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			w.log.V(1).Info("the watch of events starts anew", "reason", err.Error())
			continue
		}
		w.log.Error(err, "container starts are not counted", "again in", w.retry.String())
		select {
		case <-ctx.Done():
		case <-time.After(w.retry):
		}
	}
	return nil
}

// catchUp reads the events that are stored, about those of the last hour. At first they tell which pulls of ours nobody
// has used yet; later those that are new since the last look are counted. What the ledger has seen it must not see again:
// the start that used a pull may have become a later one, when its container restarted.
func (w *startWatch) catchUp(ctx context.Context) error {
	starts, version, err := w.stored(ctx)
	if err != nil {
		return fmt.Errorf("listing events: %w", err)
	}
	for _, s := range starts {
		if w.last == "" {
			w.ledger.Enter(s, w.ours(s))
		} else if s.After(w.last) {
			w.count(ctx, s, w.ledger.Enter(s, w.ours(s)))
		}
	}
	w.last = version
	return nil
}

// stored are the starts that the API server knows, in the order in which they happened, up to a resource version. That
// prepull pods found images there is the most of it, and says nothing.
func (w *startWatch) stored(ctx context.Context) (starts []pulled.Start, version string, err error) {
	var page *corev1.EventList
	list := func() client.ObjectList {
		page = &corev1.EventList{}
		return page
	}
	err = pages.Each(ctx, w.live, list, client.ListOptions{FieldSelector: pulled.Selector}, func(o client.Object) {
		if s, ok := pulled.StartOf(o.(*corev1.Event)); ok && !(w.ours(s) && s.Present) {
			starts = append(starts, s)
		}
	})
	if err != nil {
		return nil, "", err
	}
	pulled.Sort(starts)
	return starts, page.ResourceVersion, nil
}

// follow counts what is new until the watch ends, which it does with an error.
func (w *startWatch) follow(ctx context.Context) error {
	events, err := toolswatch.NewRetryWatcherWithContext(ctx, w.last, w)
	if err != nil {
		return fmt.Errorf("watching events: %w", err)
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		switch e.Type {
		case watch.Error:
			return fmt.Errorf("watching events: %w", apierrors.FromObject(e.Object))
		case watch.Added, watch.Modified:
			event, ok := e.Object.(*corev1.Event)
			if !ok {
				continue
			}
			w.last = event.ResourceVersion
			if s, ok := pulled.StartOf(event); ok {
				w.count(ctx, s, w.ledger.Enter(s, w.ours(s)))
			}
		}
	}
	return errors.New("watching events: the watch ended")
}

// WatchWithContext lets the API server choose the events.
func (w *startWatch) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return w.live.Watch(ctx, &corev1.EventList{}, &client.ListOptions{FieldSelector: pulled.Selector, Raw: &o})
}

// ours tells whether a start is one of a prepull pod.
func (w *startWatch) ours(s pulled.Start) bool { return s.Namespace == w.namespace }

// count adds a start to the metrics if its namespace is opted in.
func (w *startWatch) count(ctx context.Context, s pulled.Start, saved time.Duration) {
	namespace := workload.NamespaceMetadata()
	if err := w.cached.Get(ctx, client.ObjectKey{Name: s.Namespace}, namespace); err != nil {
		if !apierrors.IsNotFound(err) {
			w.log.Error(err, "a start is not counted", "namespace", s.Namespace)
		}
		return
	}
	if !workload.OptedIn(namespace, w.namespace) {
		return
	}
	if s.Present {
		w.metrics.starts.WithLabelValues("hit").Inc()
	} else {
		w.metrics.starts.WithLabelValues("miss").Inc()
		w.metrics.workloadPull.Observe(s.Waited.Seconds())
	}
	w.metrics.saved.Add(saved.Seconds())
}
