package learn

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// listPage is how many pods one lookup holds in memory at a time.
	listPage = 100

	// listPages is after how many pages the search for the pods of a revision gives up: the resync sees the rest.
	// A search by anything else, which may be the whole namespace, ends after one.
	listPages = 10
)

// read returns what the stored objects at a place say, in a namespace with these labels; nothing if there are none.
func (l *Learner) read(ctx context.Context, p lookupKey, namespace map[string]string) ([]observation, error) {
	if p.name == "" {
		return l.search(ctx, p, namespace)
	}
	obj := newWorkload(p.kind)
	if err := l.reads.Wait(ctx); err != nil {
		return nil, err
	}
	if err := pages.Get(ctx, l.live, client.ObjectKey{Namespace: p.namespace, Name: p.name}, obj); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	s, err := l.sight(ctx, obj, namespace, map[v1alpha1.User]podOwner{})
	return []observation{s}, err
}

// search reads the pods that fit a place, page by page.
func (l *Learner) search(ctx context.Context, p lookupKey, namespace map[string]string) ([]observation, error) {
	set, err := labels.ConvertSelectorToLabelsMap(p.selector)
	if err != nil {
		return nil, fmt.Errorf("reading the labels of a hint: %w", err)
	}
	options := &client.ListOptions{Namespace: p.namespace, LabelSelector: set.AsSelector(), Limit: listPage}
	known := map[v1alpha1.User]podOwner{}
	var found []observation
	most := 1
	if p.revision {
		most = listPages
	}
	for range most {
		var page corev1.PodList
		if err := l.lists.Wait(ctx); err != nil {
			return nil, err
		}
		if err := pages.List(ctx, l.live, &page, options); err != nil {
			return nil, fmt.Errorf("listing pods: %w", err)
		}
		for i := range page.Items {
			if !p.fits(&page.Items[i]) {
				continue
			}
			s, err := l.sight(ctx, &page.Items[i], namespace, known)
			if err != nil {
				return nil, err
			}
			found = append(found, s)
		}
		if options.Continue = page.Continue; page.Continue == "" {
			break
		}
	}
	return found, nil
}

// fits is true for a pod that a hint without a name may have been about.
func (p lookupKey) fits(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	if p.owner != "" {
		return owner != nil && owner.UID == p.owner
	}
	return owner == nil && pod.GenerateName == p.generateName && strings.HasPrefix(pod.Name, p.generateName)
}

// podOwner is what only the stored controller of a pod can tell.
type podOwner struct {
	// user is the workload that it stands for.
	user v1alpha1.User
	// template is what its pods do not say of where they may run, nil if they say all.
	template *workload.Template
}

// sight reduces a stored object to what it teaches in a namespace with these labels; known remembers the owners that were
// read.
func (l *Learner) sight(ctx context.Context, obj client.Object, namespace map[string]string, known map[v1alpha1.User]podOwner) (observation, error) {
	s := observation{
		uid: obj.GetUID(), created: obj.GetCreationTimestamp().Time,
		images: workload.ImagesOf(obj, namespace), user: workload.UserOf(obj), Requirements: workload.RequirementsOf(obj, namespace),
	}
	if l.accounts == nil {
		s.Secrets = nil
	} else if s.Account != "" && len(s.images) > 0 {
		var err error
		if s.Secrets, err = l.accounts.secretsOf(ctx, client.ObjectKey{Namespace: obj.GetNamespace(), Name: s.Account}); err != nil {
			return s, err
		}
	}
	if workload.KindOf(obj) != "Pod" {
		return s, nil
	}
	s.pod, s.pulls, s.labels, s.owner = true, workload.PullsOf(obj), obj.GetLabels(), metav1.GetControllerOf(obj)
	if s.user.Kind != "Job" && s.user.Kind != "DaemonSet" {
		return s, nil
	}
	owner, ok := known[s.user]
	if !ok {
		var err error
		if owner, err = l.readOwner(ctx, s.user); err != nil {
			return s, err
		}
		known[s.user] = owner
	}
	s.user = owner.user
	if owner.template != nil {
		s.Placement = owner.template.PlacementOf(s.Placement)
	}
	return s, nil
}

// readOwner reads the job or the DaemonSet of a pod: a pod of a job is the job's CronJob's, which only the job
// knows, and where a pod of a DaemonSet may run only the DaemonSet does.
func (l *Learner) readOwner(ctx context.Context, user v1alpha1.User) (podOwner, error) {
	if err := l.reads.Wait(ctx); err != nil {
		return podOwner{}, err
	}
	key := client.ObjectKey{Namespace: user.Namespace, Name: user.Name}
	if user.Kind == "DaemonSet" {
		var ds appsv1.DaemonSet
		if err := l.live.Get(ctx, key, &ds); client.IgnoreNotFound(err) != nil {
			return podOwner{}, fmt.Errorf("getting the DaemonSet of a pod: %w", err)
		}
		if ds.UID != user.UID {
			return podOwner{user: user}, nil
		}
		template := workload.TemplateOf(&ds, nil)
		return podOwner{user, &template}, nil
	}
	job := &metav1.PartialObjectMetadata{}
	job.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	if err := l.live.Get(ctx, key, job); client.IgnoreNotFound(err) != nil {
		return podOwner{}, fmt.Errorf("getting the job of a pod: %w", err)
	}
	if owner := metav1.GetControllerOfNoCopy(job); owner != nil && job.UID == user.UID {
		user = v1alpha1.User{Kind: owner.Kind, Namespace: user.Namespace, Name: owner.Name, UID: owner.UID}
	}
	return podOwner{user: user}, nil
}

// newWorkload returns an empty object of a kind that keyOf lets through.
func newWorkload(kind string) client.Object {
	switch kind {
	case "Deployment":
		return &appsv1.Deployment{}
	case "StatefulSet":
		return &appsv1.StatefulSet{}
	case "DaemonSet":
		return &appsv1.DaemonSet{}
	case "Job":
		return &batchv1.Job{}
	case "CronJob":
		return &batchv1.CronJob{}
	default:
		return &corev1.Pod{}
	}
}
