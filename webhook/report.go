package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// maxReports wait; what comes then is only in the warning of its request.
	maxReports = 1024

	// reportWorkers look for what was reported at the same time.
	reportWorkers = 4

	// storedWait is how long after a review its object is read, twice as long each time: it is stored only after
	// admission. storedLooks end that after some seconds: a request that was rejected or forged is never stored.
	storedWait  = 500 * time.Millisecond
	storedLooks = 4

	// reportRate and reportBurst bound what is read back in a second, because anybody in the cluster can send a review.
	reportRate  = 20
	reportBurst = 100
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
	reads      *rate.Limiter
	log        logr.Logger
	complain   rate.Sometimes

	mu sync.Mutex
	// looks are how often a report was looked at in vain, for each that waits.
	looks map[unpinned]int
	// due has room for all of them.
	due chan unpinned
}

func newReporter(namespaces, live client.Reader, t *teller, log logr.Logger) *reporter {
	return &reporter{
		namespaces: namespaces, live: live, teller: t, log: log,
		reads: rate.NewLimiter(reportRate, reportBurst), complain: rate.Sometimes{First: 1, Interval: 10 * time.Second},
		looks: map[unpinned]int{}, due: make(chan unpinned, maxReports),
	}
}

// report never blocks. Objects whose name the API server has yet to make up are not reported.
func (r *reporter) report(u unpinned) {
	if u.name == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, waits := r.looks[u]
	if !waits && len(r.looks) >= maxReports {
		return
	}
	r.looks[u] = 0
	if !waits {
		r.later(u, storedWait)
	}
}

// later makes a report due. It is in looks, and due or about to be only once, so there is room: nobody waits, and a
// report that comes to nothing holds up no other.
func (r *reporter) later(u unpinned, wait time.Duration) {
	time.AfterFunc(wait, func() { r.due <- u })
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
				case u := <-r.due:
					settled, err := r.look(ctx, u)
					if err != nil && ctx.Err() == nil {
						r.complain.Do(func() {
							r.log.Error(err, "a tag that is not pinned was not reported", "kind", u.kind, "namespace", u.namespace, "name", u.name)
						})
					}
					r.after(u, settled)
				}
			}
		})
	}
	running.Wait()
	return nil
}

// after forgets a report that is settled or was looked at often enough, and looks at another one again.
func (r *reporter) after(u unpinned, settled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks[u]++
	if settled || r.looks[u] >= storedLooks {
		delete(r.looks, u)
		return
	}
	r.later(u, storedWait<<r.looks[u])
}

// look tells of u if it is stored. Then it is settled, or if it never will be.
func (r *reporter) look(ctx context.Context, u unpinned) (settled bool, err error) {
	ns := workload.NamespaceMetadata()
	if err := r.namespaces.Get(ctx, client.ObjectKey{Name: u.namespace}, ns); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if v1alpha1.RewriteMode(ns.Labels, nil, false) == "" {
		return true, nil
	}
	if err := r.reads.Wait(ctx); err != nil {
		return false, err
	}
	object, err := r.read(ctx, u)
	if object == nil || err != nil {
		return false, err
	}
	if err := r.teller.tell(ctx, u.problem(object)); err != nil {
		return false, err
	}
	return true, nil
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
	w, err := parseObject(raw, u.kind)
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
		message: fmt.Sprintf("%s: %s stays a tag: %s", inWords(u.container), u.image, u.why),
	}
}
