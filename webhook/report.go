package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// maxReports wait; what comes then is only in the warning of its request.
	maxReports = 256

	// reportWorkers look for what was reported at the same time, each for storedTime at most: a request that was rejected
	// or forged is never stored.
	reportWorkers = 4
	storedTime    = 5 * time.Second
	storedPause   = 500 * time.Millisecond

	// reportRate bounds what is read back in a second, because anybody in the cluster can send a review.
	reportRate = 20
)

// unpinned is a container or image volume that stays with its tag.
type unpinned struct {
	group, kind, namespace, name string
	container, image             string
	why                          string
}

// reporter tells at workloads which of their tags could not be resolved. As with everything that admission says, it is
// only believed once it is stored.
type reporter struct {
	namespaces client.Reader // cached
	live       client.Reader
	teller     *teller
	queue      chan unpinned
	reads      *rate.Limiter
	log        logr.Logger
}

func newReporter(namespaces, live client.Reader, t *teller, log logr.Logger) *reporter {
	return &reporter{
		namespaces: namespaces, live: live, teller: t, log: log,
		queue: make(chan unpinned, maxReports), reads: rate.NewLimiter(reportRate, reportRate),
	}
}

// report never blocks. Objects whose name the API server has yet to make up are not reported.
func (r *reporter) report(u unpinned) {
	if u.name == "" {
		return
	}
	select {
	case r.queue <- u:
	default:
	}
}

// NeedLeaderElection is false: an admission reaches one replica, and that one reports.
func (r *reporter) NeedLeaderElection() bool { return false }

// Start tells what is reported until ctx ends.
func (r *reporter) Start(ctx context.Context) error {
	var running sync.WaitGroup
	for range reportWorkers {
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case u := <-r.queue:
					if err := r.await(ctx, u); err != nil && ctx.Err() == nil {
						r.log.Error(err, "a tag that is not pinned was not reported", "kind", u.kind, "namespace", u.namespace, "name", u.name)
					}
				}
			}
		})
	}
	running.Wait()
	return nil
}

// await tells of u as soon as it is stored.
func (r *reporter) await(ctx context.Context, u unpinned) error {
	ctx, cancel := context.WithTimeout(ctx, storedTime+storedPause)
	defer cancel()
	ns := namespaceMetadata()
	if err := r.namespaces.Get(ctx, client.ObjectKey{Name: u.namespace}, ns); err != nil {
		return client.IgnoreNotFound(err)
	}
	if v1alpha1.RewriteMode(ns.Labels, nil, false) == "" {
		return nil
	}
	for tries := storedTime / storedPause; tries > 0; tries-- {
		if err := r.reads.Wait(ctx); err != nil {
			return nil // too much to do: the warning has to be enough
		}
		object, err := r.read(ctx, u)
		if err != nil {
			return err
		}
		if object != nil {
			return r.teller.tell(ctx, u.problem(object))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(storedPause):
		}
	}
	return nil
}

// read returns the stored object if it is as u says, nil otherwise.
func (r *reporter) read(ctx context.Context, u unpinned) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: u.group, Version: "v1", Kind: u.kind})
	if err := r.live.Get(ctx, client.ObjectKey{Namespace: u.namespace, Name: u.name}, object); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	raw, err := json.Marshal(object.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding what is stored: %w", err)
	}
	w, err := parseWorkload(raw, u.kind)
	if err != nil {
		return nil, fmt.Errorf("reading what is stored: %w", err)
	}
	if !u.in(&w.template) {
		return nil, nil
	}
	return object, nil
}

// in is true if the template has the container with its tag and no pin.
func (u unpinned) in(t *template) bool {
	for i := range t.containers {
		if c := &t.containers[i]; c.name == u.container && c.image == u.image {
			_, pinned := t.pinned(c)
			return !pinned
		}
	}
	return false
}

func (u unpinned) problem(stored *unstructured.Unstructured) problem {
	return problem{
		workload: corev1.ObjectReference{
			APIVersion: stored.GetAPIVersion(), Kind: u.kind, Namespace: u.namespace, Name: u.name, UID: stored.GetUID(),
		},
		reason:    tagNotPinned,
		container: u.container,
		// A restart that fails in the same way is told again.
		about:   fmt.Sprintf("%s at generation %d", u.image, stored.GetGeneration()),
		message: fmt.Sprintf("container %s: %s stays a tag: %s", u.container, u.image, u.why),
	}
}
