package webhook

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// maxReports is how many tags wait to be reported; one beyond it is not.
	maxReports = 1024

	// reportReaders is how many objects are read at the same time.
	reportReaders = 4

	// reportRate and reportBurst bound the objects that one replica reads a second, because anybody in the cluster can
	// send a review.
	reportRate  = 50
	reportBurst = 200

	// reportWait is how long after a review its object is read: it is stored only after admission. Each further wait is
	// twice as long.
	reportWait = 500 * time.Millisecond

	// reportLooks ends the wait for an object after about 8 seconds: its request was rejected, or never was one.
	reportLooks = 4

	// maxReportField bounds each string of a report, because a review may be forged. What is longer is not reported.
	maxReportField = 1024
)

// unpinned is a tag that could not be resolved when its workload was admitted.
type unpinned struct {
	// group and kind are of a Deployment, StatefulSet, DaemonSet, Job, CronJob or Pod.
	group, kind string

	// name is empty if the API server has yet to make it up.
	namespace, name string

	// container is its name, or volume/ and the name of an image volume.
	container, image string

	// why is what the registry, or the way to it, answered.
	why string
}

// reporter tells on a workload that a tag of it was left one. Like the learner it believes no review: what is told is
// so in the object that is stored.
type reporter struct {
	namespaces client.Reader // cached
	live       client.Reader
	reads      *rate.Limiter
	events     *eventWriter
	log        logr.Logger
	complain   rate.Sometimes

	mu sync.Mutex
	// looks are how often an object was looked at in vain, for each report that is not settled.
	looks map[unpinned]int
	// due has room for all of them.
	due chan unpinned
}

func newReporter(mgr ctrl.Manager, m *pinMetrics) *reporter {
	return &reporter{
		namespaces: mgr.GetClient(),
		live:       mgr.GetAPIReader(),
		reads:      rate.NewLimiter(reportRate, reportBurst),
		events:     newEventWriter(mgr, m),
		log:        mgr.GetLogger().WithName("reporter"),
		complain:   rate.Sometimes{First: 1, Interval: 10 * time.Second},
		looks:      map[unpinned]int{},
		due:        make(chan unpinned, maxReports),
	}
}

// NeedLeaderElection is false: an admission reaches one replica, and that one reports.
func (r *reporter) NeedLeaderElection() bool { return false }

// Start looks at what is reported until ctx ends.
func (r *reporter) Start(ctx context.Context) error {
	var running sync.WaitGroup
	for range reportReaders {
		running.Go(func() { r.work(ctx) })
	}
	running.Wait()
	return nil
}

// report asks for an event about a tag. It never blocks; without room there will be no event.
func (r *reporter) report(u unpinned) {
	if u.name == "" || newWorkload(u.group, u.kind) == nil {
		return
	}
	for _, s := range []string{u.namespace, u.name, u.container, u.image} {
		if len(s) > maxReportField {
			return
		}
	}
	u.why = shortened(u.why, maxReportField)
	r.mu.Lock()
	defer r.mu.Unlock()
	_, waits := r.looks[u]
	if !waits && len(r.looks) >= maxReports {
		return
	}
	r.looks[u] = 0
	if !waits {
		r.later(u, reportWait)
	}
}

// later makes a report due. It is in looks, and due or about to be only once, so there is room.
func (r *reporter) later(u unpinned, wait time.Duration) {
	time.AfterFunc(wait, func() { r.due <- u })
}

func (r *reporter) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-r.due:
			settled, err := r.look(ctx, u)
			if err != nil && ctx.Err() == nil {
				r.complain.Do(func() {
					r.log.Error(err, "reporting a tag failed", "kind", u.kind, "namespace", u.namespace, "name", u.name)
				})
			}
			r.after(u, settled)
		}
	}
}

// after forgets a report that is settled or was looked at often enough, and looks again at another one later.
func (r *reporter) after(u unpinned, settled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks[u]++
	if settled || r.looks[u] >= reportLooks {
		delete(r.looks, u)
		return
	}
	r.later(u, reportWait<<r.looks[u])
}

// look writes the event if what is reported is so. It is settled then, or if it will never be.
func (r *reporter) look(ctx context.Context, u unpinned) (settled bool, err error) {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.namespaces.Get(ctx, client.ObjectKey{Name: u.namespace}, ns); apierrors.IsNotFound(err) {
		return true, nil
	} else if err != nil {
		return false, fmt.Errorf("getting the namespace: %w", err)
	}
	if v1alpha1.RewriteMode(ns.Labels, nil, false) == "" {
		return true, nil
	}
	if err := r.reads.Wait(ctx); err != nil {
		return false, err
	}
	obj := newWorkload(u.group, u.kind)
	if err := r.live.Get(ctx, client.ObjectKey{Namespace: u.namespace, Name: u.name}, obj); apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("reading a workload: %w", err)
	}
	p, ok := problemOf(u, obj, ns.Labels)
	if ok {
		r.events.write(p)
	}
	return ok, nil
}

// problemOf is a report as a problem of the stored object; false if that does not have it, or not yet.
func problemOf(u unpinned, obj client.Object, namespace map[string]string) (problem, bool) {
	t := templateIn(obj)
	owner := metav1.GetControllerOfNoCopy(obj)
	if owner != nil && (u.kind == "Pod" || owner.Kind == "CronJob") {
		return problem{}, false // the template that it was made from is pinned, or nothing is
	}
	mode := v1alpha1.RewriteMode(namespace, t.labels, owner != nil)
	if mode == "" || obj.GetDeletionTimestamp() != nil {
		return problem{}, false
	}
	images := imagesIn(t.spec)
	at := slices.IndexFunc(images, func(i podImage) bool { return i.name == u.container })
	if at < 0 || images[at].image != u.image || !isTag(u.image, mode) || images[at].policy == corev1.PullNever {
		return problem{}, false
	}
	if _, ok := v1alpha1.Pinned(u.image, t.annotations[images[at].pin]); ok {
		return problem{}, false
	}
	return problem{
		reason: tagNotPinned,
		// The recorder counts events about the same object and field instead of writing them: a resource version keeps
		// apart what is said of two revisions.
		workload: corev1.ObjectReference{
			APIVersion: schema.GroupVersion{Group: u.group, Version: "v1"}.String(), Kind: u.kind,
			Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), FieldPath: t.path + images[at].path,
		},
		container: u.container,
		image:     u.image,
		note:      fmt.Sprintf("%s: %s stays a tag: %s", spoken(u.container), u.image, u.why),
	}, true
}

// isTag is true for an image that has no digest and whose tag, or the lack of one, is of those that the mode pins.
func isTag(image, mode string) bool {
	_, tag := v1alpha1.SplitTag(image)
	return image != "" && !strings.Contains(image, "@") && (mode == v1alpha1.RewriteTags || tag == "" || tag == "latest")
}

// spoken names a container or an image volume: container app, volume models.
func spoken(container string) string {
	if volume, ok := strings.CutPrefix(container, volumePrefix); ok {
		return "volume " + volume
	}
	return "container " + container
}

// newWorkload is an empty object of a kind whose tags are resolved, nil for any other kind.
func newWorkload(group, kind string) client.Object {
	switch (metav1.GroupKind{Group: group, Kind: kind}) {
	case metav1.GroupKind{Kind: "Pod"}:
		return &corev1.Pod{}
	case metav1.GroupKind{Group: appsv1.GroupName, Kind: "Deployment"}:
		return &appsv1.Deployment{}
	case metav1.GroupKind{Group: appsv1.GroupName, Kind: "StatefulSet"}:
		return &appsv1.StatefulSet{}
	case metav1.GroupKind{Group: appsv1.GroupName, Kind: "DaemonSet"}:
		return &appsv1.DaemonSet{}
	case metav1.GroupKind{Group: batchv1.GroupName, Kind: "Job"}:
		return &batchv1.Job{}
	case metav1.GroupKind{Group: batchv1.GroupName, Kind: "CronJob"}:
		return &batchv1.CronJob{}
	}
	return nil
}

// storedTemplate is the template of a stored object, or of a pod what stands for it.
type storedTemplate struct {
	labels, annotations map[string]string
	spec                *corev1.PodSpec

	// path leads to the template, and ends in a dot if it is not empty.
	path string
}

// templateIn returns the template of an object that newWorkload made.
func templateIn(obj client.Object) storedTemplate {
	of := func(t *corev1.PodTemplateSpec, path string) storedTemplate {
		return storedTemplate{t.Labels, t.Annotations, &t.Spec, path}
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		return storedTemplate{o.Labels, o.Annotations, &o.Spec, ""}
	case *appsv1.Deployment:
		return of(&o.Spec.Template, "spec.template.")
	case *appsv1.StatefulSet:
		return of(&o.Spec.Template, "spec.template.")
	case *appsv1.DaemonSet:
		return of(&o.Spec.Template, "spec.template.")
	case *batchv1.Job:
		return of(&o.Spec.Template, "spec.template.")
	case *batchv1.CronJob:
		return of(&o.Spec.JobTemplate.Spec.Template, "spec.jobTemplate.spec.template.")
	}
	return storedTemplate{spec: &corev1.PodSpec{}}
}
