package learn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// optedIn returns the namespaces whose images are learned, with their labels.
func (r *resync) optedIn(ctx context.Context) (map[string]map[string]string, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := r.cached.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelEnabled: v1alpha1.Enabled}); err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	namespaces := map[string]map[string]string{}
	for i := range list.Items {
		if workload.OptedIn(&list.Items[i], r.namespace) {
			namespaces[list.Items[i].Name] = list.Items[i].Labels
		}
	}
	return namespaces, nil
}

// provenBy tells which users are known to have run which images, nil if templates are believed.
func (r *resync) provenBy(images []v1alpha1.PrepullImage) func(image string, user v1alpha1.User) bool {
	if !r.fromPods {
		return nil
	}
	users := map[string][]v1alpha1.User{}
	for i := range images {
		users[images[i].Spec.Image] = append(users[images[i].Spec.Image], images[i].Status.Users...)
	}
	return func(image string, user v1alpha1.User) bool { return userIn(users[image], user) >= 0 }
}

// count takes the census, of one opted-in namespace or with an empty name of all. A namespace that cannot be read does not
// keep the others from being counted; the error names it.
func (r *resync) count(ctx context.Context, namespaces map[string]map[string]string, only string, proven func(string, v1alpha1.User) bool) (*census, error) {
	c := newCensus(namespaces)
	c.pullSecrets, c.proven = r.pullSecrets, proven
	var errs []error
	for _, ns := range slices.Sorted(maps.Keys(namespaces)) {
		if only != "" && ns != only {
			continue
		}
		if err := r.countNamespace(ctx, ns, c); err != nil {
			errs = append(errs, fmt.Errorf("reading namespace %s: %w", ns, err))
			continue
		}
		c.read[ns] = true
	}
	return c, errors.Join(errs...)
}

// countNamespace adds all workloads, and what scalers and service accounts say about them. Those that cannot be read do
// not keep the others from being counted.
func (r *resync) countNamespace(ctx context.Context, ns string, c *census) error {
	err := r.countWorkloads(ctx, ns, c)
	c.settle()
	return errors.Join(err, r.countScalers(ctx, ns, c), r.countAccounts(ctx, ns, c))
}

// countWorkloads adds all workloads and the pods that are not finished. Pods come last: they correct what templates say.
func (r *resync) countWorkloads(ctx context.Context, ns string, c *census) error {
	running := fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed")
	for _, kind := range []struct {
		list     func() client.ObjectList
		selector fields.Selector
	}{
		{list: func() client.ObjectList { return &appsv1.DeploymentList{} }},
		{list: func() client.ObjectList { return &appsv1.StatefulSetList{} }},
		{list: func() client.ObjectList { return &appsv1.DaemonSetList{} }},
		{list: func() client.ObjectList { return &batchv1.CronJobList{} }},
		{list: func() client.ObjectList { return &batchv1.JobList{} }},
		{list: func() client.ObjectList { return &corev1.PodList{} }, selector: running},
	} {
		options := client.ListOptions{Namespace: ns, FieldSelector: kind.selector}
		if err := pages.Each(ctx, r.live, kind.list, options, func(o client.Object) { c.add(o) }); err != nil {
			return err
		}
	}
	return nil
}

// countScalers adds the HorizontalPodAutoscalers.
func (r *resync) countScalers(ctx context.Context, ns string, c *census) error {
	list := func() client.ObjectList { return &autoscalingv2.HorizontalPodAutoscalerList{} }
	err := pages.Each(ctx, r.live, list, client.ListOptions{Namespace: ns}, func(o client.Object) {
		c.addScaler(o.(*autoscalingv2.HorizontalPodAutoscaler))
	})
	if err != nil {
		return fmt.Errorf("reading HorizontalPodAutoscalers: %w", err)
	}
	return nil
}

// countAccounts adds the pull secrets of the service accounts that the workloads counted so far have, reading each once.
func (r *resync) countAccounts(ctx context.Context, ns string, c *census) error {
	for _, account := range slices.Sorted(maps.Keys(c.accounts[ns])) {
		secrets, err := readAccount(ctx, r.live, client.ObjectKey{Namespace: ns, Name: account})
		if err != nil {
			return err
		}
		c.addSecrets(ns, account, secrets)
	}
	return nil
}
