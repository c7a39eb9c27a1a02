package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/webhook/pins"

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

// Unpinned is a container or image volume that stays with its tag.
type Unpinned struct {
	Group, Kind, Namespace, Name string
	Container, Image             string
	Why                          string
}

// reporter tells at workloads which of their tags could not be resolved. As with everything that admission says, it is
// only believed once it is stored.
type reporter struct {
	namespaces client.Reader // cached
	live       client.Reader
	recorder   *recorder
	reads      *rate.Limiter
	log        logr.Logger
	complain   rate.Sometimes

	mu sync.Mutex
	// looks are how often a report was looked at in vain, for each that waits.
	looks map[Unpinned]int
	// due has room for all of them.
	due chan Unpinned
}

func newReporter(namespaces, live client.Reader, t *recorder, log logr.Logger) *reporter {
	return &reporter{
		namespaces: namespaces, live: live, recorder: t, log: log,
		reads: rate.NewLimiter(reportRate, reportBurst), complain: rate.Sometimes{First: 1, Interval: 10 * time.Second},
		looks: map[Unpinned]int{}, due: make(chan Unpinned, maxReports),
	}
}

// Report never blocks. Objects whose name the API server has yet to make up are not reported.
func (r *reporter) Report(u Unpinned) {
	if u.Name == "" {
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
func (r *reporter) later(u Unpinned, wait time.Duration) {
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
							r.log.Error(err, "a tag that is not pinned was not reported", "kind", u.Kind, "namespace", u.Namespace, "name", u.Name)
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
func (r *reporter) after(u Unpinned, settled bool) {
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
func (r *reporter) look(ctx context.Context, u Unpinned) (settled bool, err error) {
	ns := workload.NamespaceMetadata()
	if err := r.namespaces.Get(ctx, client.ObjectKey{Name: u.Namespace}, ns); err != nil {
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
	if err := r.recorder.record(ctx, u.problem(object)); err != nil {
		return false, err
	}
	return true, nil
}

// read returns the stored object if it is as u says, nil otherwise.
func (r *reporter) read(ctx context.Context, u Unpinned) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: u.Group, Version: "v1", Kind: u.Kind})
	if err := r.live.Get(ctx, client.ObjectKey{Namespace: u.Namespace, Name: u.Name}, object); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	raw, err := json.Marshal(object.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding what is stored: %w", err)
	}
	w, err := pins.Parse(raw, u.Kind)
	if err != nil {
		return nil, fmt.Errorf("reading what is stored: %w", err)
	}
	if !u.in(&w.Template) {
		return nil, nil
	}
	return object, nil
}

// in is true if the template has the container with its tag and no pin.
func (u Unpinned) in(t *pins.Template) bool {
	for i := range t.Containers {
		if c := &t.Containers[i]; c.Name == u.Container && c.Image == u.Image {
			_, pinned := t.Pinned(c)
			return !pinned
		}
	}
	return false
}

func (u Unpinned) problem(stored *unstructured.Unstructured) Problem {
	return Problem{
		workload: corev1.ObjectReference{
			APIVersion: stored.GetAPIVersion(), Kind: u.Kind, Namespace: u.Namespace, Name: u.Name, UID: stored.GetUID(),
		},
		reason:    tagNotPinned,
		container: u.Container,
		// A restart that fails in the same way is told again.
		about:   fmt.Sprintf("%s at generation %d", u.Image, stored.GetGeneration()),
		message: fmt.Sprintf("%s: %s stays a tag: %s", InWords(u.Container), u.Image, u.Why),
	}
}
