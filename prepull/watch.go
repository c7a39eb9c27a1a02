package prepull

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/credentials"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// crdPatience is how long the controller waits for its caches. A CRD that is missing at the start may come: until then
// the manager serves its webhook and logs what it waits for.
const crdPatience = 1000 * time.Hour

// setupReconciler makes the manager run the reconciler on the leader. resynced is set once the resync has looked at all namespaces.
func setupReconciler(mgr ctrl.Manager, o Options, resynced *atomic.Bool) error {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	o.NoopFolder = workload.NoopFolder(random)
	m, err := newMetrics(ctrlmetrics.Registry)
	if err != nil {
		return err
	}
	gate, err := newGateMetrics(ctrlmetrics.Registry)
	if err != nil {
		return err
	}
	keeper, err := credentials.SetupWithManager(mgr, credentials.Options{Namespace: o.Namespace, NoopImage: o.NoopImage, Enabled: o.PullSecrets, Clocks: o.Clocks})
	if err != nil {
		return fmt.Errorf("setting up the keeper of credentials: %w", err)
	}
	look := handler.Funcs{
		GenericFunc: func(_ context.Context, _ event.GenericEvent, q queue) { q.AddAfter(key, o.Clocks.PassPace) },
		CreateFunc:  func(_ context.Context, _ event.CreateEvent, q queue) { q.AddAfter(key, o.Clocks.PassPace) },
		UpdateFunc:  func(_ context.Context, _ event.UpdateEvent, q queue) { q.AddAfter(key, o.Clocks.PassPace) },
		DeleteFunc:  func(_ context.Context, _ event.DeleteEvent, q queue) { q.AddAfter(key, o.Clocks.PassPace) },
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("prepull").
		WithOptions(controller.Options{
			CacheSyncTimeout: crdPatience,
			RateLimiter:      workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](o.Clocks.PassRetry, o.Clocks.MaxPassRetry),
		}).
		Watches(&v1alpha1.PrepullImage{}, look, builder.WithPredicates(changed[v1alpha1.PrepullImage]())).
		Watches(&corev1.Node{}, look, builder.WithPredicates(changed[corev1.Node]())).
		Watches(&appsv1.DaemonSet{}, look, builder.WithPredicates(changed[appsv1.DaemonSet]())).
		Watches(&corev1.Pod{}, look, builder.WithPredicates(changed[corev1.Pod]())).
		Watches(&nodev1.RuntimeClass{}, look, builder.WithPredicates(changed[nodev1.RuntimeClass]())).
		Watches(&corev1.Event{}, look, builder.WithPredicates(changed[corev1.Event]())).
		WatchesRawSource(source.Channel(keeper.Changes(), look)).
		Complete(&reconciler{
			client:          mgr.GetClient(),
			options:         o,
			credentials:     keeper,
			nodes:           newNodeWriter(mgr.GetClient(), o.Gate, o.Clocks, gate),
			daemonSets:      newDaemonSetWriter(mgr.GetClient(), o, m),
			statuses:        newStatusWriter(mgr.GetClient(), o.Clocks, m),
			refusedPods:     refusedPods{reader: mgr.GetAPIReader(), namespace: o.Namespace},
			mirrors:         mirrors{reader: mgr.GetAPIReader(), Mirror: o.Mirror},
			metrics:         m,
			firstResyncDone: resynced,
		})
}

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]
