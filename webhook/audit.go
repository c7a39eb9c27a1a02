package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// auditPage is how many pods an audit holds in memory at a time.
	auditPage = 500

	// pendingInterval is how often the pods are listed that have yet to start: one that waits for a digest which is gone
	// waits for somebody to be told.
	pendingInterval = 30 * time.Second

	// auditRate and auditBurst bound the workloads of pods with problems that are read a second.
	auditRate  = 20
	auditBurst = 20
)

// Which pods an audit lists.
var (
	unfinishedPods = fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed")
	pendingPods    = fields.ParseSelectorOrDie("status.phase=Pending")
)

// auditor looks for pods that are not what their pins say. Admission cannot: the webhook may have been away, and a digest
// may leave the registry later. Nothing is repaired, only told: to replace a pod is not for us to decide.
type auditor struct {
	namespaces client.Reader // cached
	live       client.Reader
	reads      *rate.Limiter
	own        string
	interval   time.Duration
	events     *eventWriter
	log        logr.Logger
	complain   rate.Sometimes
}

func newAuditor(mgr ctrl.Manager, namespace string, interval time.Duration, m *pinMetrics) *auditor {
	return &auditor{
		namespaces: mgr.GetClient(),
		live:       mgr.GetAPIReader(),
		reads:      rate.NewLimiter(auditRate, auditBurst),
		own:        namespace,
		interval:   interval,
		events:     newEventWriter(mgr, m),
		log:        mgr.GetLogger().WithName("auditor"),
		complain:   rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
}

// NeedLeaderElection is true: one replica is enough to look.
func (a *auditor) NeedLeaderElection() bool { return true }

// Start audits all pods now and at the interval, and between that those that have yet to start, until ctx ends.
func (a *auditor) Start(ctx context.Context) error {
	full, pending := time.NewTicker(a.interval), time.NewTicker(pendingInterval)
	defer full.Stop()
	defer pending.Stop()
	for onlyPending := false; ; {
		if err := a.audit(ctx, onlyPending); err != nil && ctx.Err() == nil {
			a.complain.Do(func() { a.log.Error(err, "auditing pods failed") })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-full.C:
			onlyPending = false
		case <-pending.C:
			onlyPending = true
		}
	}
}

// audit tells what is wrong with the pods of all namespaces whose images are pinned. A namespace that cannot be read does
// not keep the others from being audited.
func (a *auditor) audit(ctx context.Context, onlyPending bool) error {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := a.namespaces.List(ctx, &list, client.HasLabels{v1alpha1.LabelRewrite}); err != nil {
		return fmt.Errorf("listing namespaces: %w", err)
	}
	var errs []error
	for i := range list.Items {
		if !a.pinned(&list.Items[i]) {
			continue
		}
		if err := a.auditNamespace(ctx, list.Items[i].Name, onlyPending); err != nil {
			errs = append(errs, fmt.Errorf("auditing namespace %s: %w", list.Items[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// pinned is true for a namespace whose images are pinned. Those that the cluster and kube-prepull itself run in never are.
func (a *auditor) pinned(namespace *metav1.PartialObjectMetadata) bool {
	switch namespace.Name {
	case metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, a.own:
		return false
	}
	return namespace.DeletionTimestamp == nil && v1alpha1.RewriteMode(namespace.Labels, nil, false) != ""
}

func (a *auditor) auditNamespace(ctx context.Context, namespace string, onlyPending bool) error {
	pods := unfinishedPods
	if onlyPending {
		pods = pendingPods
	}
	groups, err := a.list(ctx, namespace, pods)
	if err != nil {
		return err
	}
	// The event about a pod that slipped through says how many did, and the others may have started.
	slip := func(g *findingGroup) bool { return g.reason == podNotPinned && !a.events.lately(g.key()) }
	if onlyPending && slices.ContainsFunc(groups, slip) {
		if groups, err = a.list(ctx, namespace, unfinishedPods); err != nil {
			return err
		}
	}
	var errs []error
	for _, g := range groups {
		if a.events.lately(g.key()) {
			continue
		}
		p, err := a.problemOf(ctx, g)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		a.events.write(p)
		a.events.first(g.key())
	}
	return errors.Join(errs...)
}

// list audits the pods of a namespace, page by page.
func (a *auditor) list(ctx context.Context, namespace string, pods fields.Selector) ([]*findingGroup, error) {
	var found findingGroups
	options := &client.ListOptions{Namespace: namespace, FieldSelector: pods, Limit: auditPage}
	for {
		var page corev1.PodList
		if err := a.live.List(ctx, &page, options); err != nil {
			return nil, fmt.Errorf("listing pods: %w", err)
		}
		for i := range page.Items {
			for _, f := range auditPod(&page.Items[i]) {
				found.add(f)
			}
		}
		if options.Continue = page.Continue; page.Continue == "" {
			return found.inOrder, nil
		}
	}
}

// findingGroup are the findings that one event tells: the first, and how many more pods have the same.
type findingGroup struct {
	finding
	others int
	last   types.UID
}

// groupKey is what the findings of a group have in common.
type groupKey struct {
	controller                types.UID
	reason, container, digest string
}

// key of the group. That a pod slipped through is told once for a controller, whichever its containers and digests are:
// it is to be replaced as a whole.
func (f *finding) key() groupKey {
	if f.reason == podNotPinned {
		return groupKey{controller: f.controller.UID, reason: f.reason}
	}
	return groupKey{f.controller.UID, f.reason, f.container, f.digest}
}

type findingGroups struct {
	byKey   map[groupKey]*findingGroup
	inOrder []*findingGroup
}

// add takes the findings of one pod after those of another.
func (g *findingGroups) add(f finding) {
	known := g.byKey[f.key()]
	switch {
	case known == nil:
		if g.byKey == nil {
			g.byKey = map[groupKey]*findingGroup{}
		}
		known = &findingGroup{finding: f}
		g.byKey[f.key()] = known
		g.inOrder = append(g.inOrder, known)
	case known.last != f.pod.UID:
		known.others++
	}
	known.last = f.pod.UID
}

// problemOf is a group as a problem of the workload that stands for its pods.
func (a *auditor) problemOf(ctx context.Context, g *findingGroup) (problem, error) {
	workload, err := a.workloadOf(ctx, &g.finding)
	if err != nil {
		return problem{}, err
	}
	p := problem{
		reason: g.reason, workload: workload, pod: &g.pod, container: g.container, image: g.digest,
		note: goneNote(&g.finding, workload.Kind),
	}
	if g.reason == podNotPinned {
		p.container, p.note = "", slippedNote(g)
	}
	return p, nil
}

// workloadOf returns what people know a pod by: the Deployment of its ReplicaSet, the CronJob of its job, otherwise its
// controller, or the pod itself. A workload that is gone is told on its controller too.
func (a *auditor) workloadOf(ctx context.Context, f *finding) (corev1.ObjectReference, error) {
	switch {
	case f.deployment != "":
		kind := appsv1.SchemeGroupVersion.WithKind("Deployment")
		deployment, err := a.read(ctx, kind, f.pod.Namespace, f.deployment)
		if deployment == nil || err != nil {
			return f.controller, err
		}
		return referenceTo(kind, f.pod.Namespace, deployment.Name, deployment.UID), nil
	case f.controller.Kind == "Job":
		job, err := a.read(ctx, batchv1.SchemeGroupVersion.WithKind("Job"), f.pod.Namespace, f.controller.Name)
		if job == nil || err != nil {
			return f.controller, err
		}
		kind := batchv1.SchemeGroupVersion.WithKind("CronJob")
		owner := metav1.GetControllerOfNoCopy(job)
		if job.UID == f.controller.UID && owner != nil && owner.Kind == kind.Kind {
			return referenceTo(kind, f.pod.Namespace, owner.Name, owner.UID), nil
		}
	}
	return f.controller, nil
}

// read returns the metadata of an object, nil if there is none.
func (a *auditor) read(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	if err := a.reads.Wait(ctx); err != nil {
		return nil, err
	}
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(kind)
	if err := a.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, obj); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("getting %s %s: %w", kind.Kind, name, err)
	} else if err != nil {
		return nil, nil
	}
	return obj, nil
}

func referenceTo(kind schema.GroupVersionKind, namespace, name string, uid types.UID) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Namespace: namespace, Name: name, UID: uid}
}
