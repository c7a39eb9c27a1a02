package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Which pods are read.
var (
	unfinishedPods = fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed")
	pendingPods    = fields.ParseSelectorOrDie("status.phase=Pending")
)

// auditor looks at stored pods for what admission could not see to. It runs on the leader.
type auditor struct {
	namespaces client.Reader // cached
	live       client.Reader
	own        string
	interval   time.Duration
	pending    time.Duration // the interval for pods that have not started
	recorder   *recorder
	log        logr.Logger

	// recorded is when a finding was recorded: its workload need not be read to know that.
	recorded map[findingKey]time.Time
}

// NeedLeaderElection is true: one replica is enough to look.
func (a *auditor) NeedLeaderElection() bool { return true }

// Start looks until ctx ends: at all pods to begin with and once in an interval, and more often at those that wait.
func (a *auditor) Start(ctx context.Context) error {
	all, pending := time.NewTicker(a.interval), time.NewTicker(a.pending)
	defer all.Stop()
	defer pending.Stop()
	for onlyPending := false; ; {
		if err := a.look(ctx, onlyPending, time.Now()); err != nil && ctx.Err() == nil {
			a.log.Error(err, "looking for pods without their pins failed")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-all.C:
			onlyPending = false
		case <-pending.C:
			onlyPending = true
		}
	}
}

// look reads the pods of all namespaces whose images are pinned, and tells what is wrong with them. What goes wrong in
// one namespace does not keep it from the others.
func (a *auditor) look(ctx context.Context, onlyPending bool, now time.Time) error {
	maps.DeleteFunc(a.recorded, func(_ findingKey, last time.Time) bool { return now.Sub(last) >= eventLife })
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := a.namespaces.List(ctx, &list, client.HasLabels{v1alpha1.LabelRewrite}); err != nil {
		return fmt.Errorf("listing namespaces: %w", err)
	}
	var errs []error
	for i := range list.Items {
		if a.pins(&list.Items[i]) {
			errs = append(errs, a.lookIn(ctx, list.Items[i].Name, onlyPending, now))
		}
	}
	return errors.Join(errs...)
}

// pins is true for a namespace whose images are pinned and that takes Events: one that is being deleted does not.
func (a *auditor) pins(ns *metav1.PartialObjectMetadata) bool {
	return !workload.Untouchable(ns.Name, a.own) && ns.DeletionTimestamp == nil && v1alpha1.RewriteMode(ns.Labels, nil, false) != ""
}

func (a *auditor) lookIn(ctx context.Context, namespace string, onlyPending bool, now time.Time) error {
	pods := unfinishedPods
	if onlyPending {
		pods = pendingPods
	}
	found, err := a.findings(ctx, namespace, pods)
	// An Event about pods that slipped through counts them, and some may have started.
	if onlyPending && slices.ContainsFunc(found, func(f *finding) bool { return f.reason == podNotPinned }) {
		found, err = a.findings(ctx, namespace, unfinishedPods)
	}
	errs := []error{err}
	for _, f := range found {
		err := a.record(ctx, f)
		if err == nil {
			a.recorded[f.key()] = now
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// maxFindings are told of a namespace at a time; the others next time.
const maxFindings = 100

// findings are those in the pods of a namespace that were not told yet, one for all pods of an owner that have the same.
func (a *auditor) findings(ctx context.Context, namespace string, pods fields.Selector) ([]*finding, error) {
	var inOrder []*finding
	known := map[findingKey]*finding{}
	list := func() client.ObjectList { return &corev1.PodList{} }
	err := pages.Each(ctx, a.live, list, client.ListOptions{Namespace: namespace, FieldSelector: pods}, func(o client.Object) {
		for _, f := range auditPod(o.(*corev1.Pod)) {
			if _, told := a.recorded[f.key()]; told {
				continue
			}
			if like := known[f.key()]; like != nil {
				like.others++
				continue
			}
			if len(inOrder) == maxFindings {
				continue
			}
			known[f.key()] = &f
			inOrder = append(inOrder, &f)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading the pods of namespace %s: %w", namespace, err)
	}
	return inOrder, nil
}

func (a *auditor) record(ctx context.Context, f *finding) error {
	about, err := a.workloadOf(ctx, f.pod)
	if err != nil {
		return err
	}
	return a.recorder.record(ctx, Problem{
		workload: about, reason: f.reason, container: f.container, message: f.message(about.Kind),
		// The workload and not the owner: each job of a CronJob would be told.
		about: f.pinned,
	})
}

// workloadOf is what stands for a pod: its controller, or the Deployment or CronJob of that one.
func (a *auditor) workloadOf(ctx context.Context, pod *corev1.Pod) (corev1.ObjectReference, error) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}, nil
	}
	itself := corev1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name, UID: owner.UID}
	if u := workload.UserOf(pod); owner.Kind == "ReplicaSet" && u.Kind == "Deployment" {
		deployment, err := a.metadata(ctx, schema.FromAPIVersionAndKind(owner.APIVersion, u.Kind), pod.Namespace, u.Name)
		if err != nil || deployment == nil {
			return itself, err
		}
		itself.Kind, itself.Name, itself.UID = u.Kind, u.Name, deployment.UID
	}
	if owner.Kind == "Job" {
		job, err := a.metadata(ctx, schema.FromAPIVersionAndKind(owner.APIVersion, "Job"), pod.Namespace, owner.Name)
		if err != nil || job == nil {
			return itself, err
		}
		if above := metav1.GetControllerOfNoCopy(job); above != nil && above.Kind == "CronJob" && job.UID == owner.UID {
			itself.APIVersion, itself.Kind, itself.Name, itself.UID = above.APIVersion, above.Kind, above.Name, above.UID
		}
	}
	return itself, nil
}

// metadata of an object, nil if there is none.
func (a *auditor) metadata(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind)
	err := a.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("getting the workload of a pod: %w", err)
	}
	if err != nil {
		return nil, nil
	}
	return object, nil
}
