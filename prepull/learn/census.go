package learn

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// census is what the stored objects of all opted-in namespaces say about images.
type census struct {
	// namespaces are the opted-in ones, with their labels.
	namespaces map[string]map[string]string
	// partial is set if not all namespaces were read to the end: what was not seen may be there all the same.
	partial bool
	// users are the users of each image, without their UIDs.
	users map[string]map[v1alpha1.User]bool
	// uids are the UIDs of all users that are stored, as far as they are known.
	uids map[v1alpha1.User]types.UID
	// jobs are the users that stored jobs stand for: their CronJobs or themselves.
	jobs map[types.UID]v1alpha1.User

	// pullSecrets is set if the pull secrets of workloads are learned.
	pullSecrets bool
	// demands are what the users of each image ask for, except for what scalers and service accounts tell.
	demands map[string]workload.Demand
	// scaled are the workloads that a HorizontalPodAutoscaler scales, without their UIDs.
	scaled map[v1alpha1.User]bool
	// accounts are the images that are pulled with the secrets of a service account, by its namespace and name.
	accounts map[string]map[string]map[string]bool
	// daemonSets are where the pods of stored DaemonSets may run.
	daemonSets map[types.UID]v1alpha1.Placement
	// placements are those that were met, by their keys: thousands of workloads share a few.
	placements map[string][]v1alpha1.Placement
}

func newCensus(namespaces map[string]map[string]string) *census {
	return &census{
		namespaces: namespaces,
		users:      map[string]map[v1alpha1.User]bool{},
		uids:       map[v1alpha1.User]types.UID{},
		jobs:       map[types.UID]v1alpha1.User{},
		demands:    map[string]workload.Demand{},
		scaled:     map[v1alpha1.User]bool{},
		accounts:   map[string]map[string]map[string]bool{},
		daemonSets: map[types.UID]v1alpha1.Placement{},
		placements: map[string][]v1alpha1.Placement{},
	}
}

// add counts one stored object. Jobs and DaemonSets must come before pods.
func (c *census) add(obj metav1.Object) {
	namespace := c.namespaces[obj.GetNamespace()]
	user, f := workload.UserOf(obj), workload.RequirementsOf(obj, namespace)
	switch obj.(type) {
	case *batchv1.Job:
		c.jobs[obj.GetUID()] = user
	case *appsv1.DaemonSet:
		c.daemonSets[obj.GetUID()] = f.Placement
	case *corev1.Pod:
		if cron, ok := c.jobs[user.UID]; ok && user.UID != "" {
			user = cron
		}
		if placement, ok := c.daemonSets[user.UID]; ok {
			f.Placement = placement
		}
	}
	if obj.GetDeletionTimestamp() != nil || workload.Finished(obj) {
		return
	}
	key := workload.WithoutUID(user)
	if user.UID != "" || c.uids[key] == "" {
		c.uids[key] = user.UID
	}
	if !c.pullSecrets {
		f.Secrets, f.Account = nil, ""
	}
	for _, image := range workload.ImagesOf(obj, namespace) {
		if c.users[image] == nil {
			c.users[image] = map[v1alpha1.User]bool{}
		}
		c.users[image][key] = true
		asked := f.DemandFor(image)
		asked.Placements = c.shared(f.Placement)
		c.demands[image] = c.demands[image].Plus(asked)
		if f.Account != "" {
			c.addAccount(obj.GetNamespace(), f.Account, image)
		}
	}
}

// shared is a placement alone, in memory once however often it is met.
func (c *census) shared(p v1alpha1.Placement) []v1alpha1.Placement {
	key := workload.PlacementKey(p)
	if c.placements[key] == nil {
		c.placements[key] = []v1alpha1.Placement{p}
	}
	return c.placements[key]
}

// addAccount notes that an image is pulled with what a service account has.
func (c *census) addAccount(namespace, account, image string) {
	if c.accounts[namespace] == nil {
		c.accounts[namespace] = map[string]map[string]bool{}
	}
	if c.accounts[namespace][account] == nil {
		c.accounts[namespace][account] = map[string]bool{}
	}
	c.accounts[namespace][account][image] = true
}

// addSecrets counts the pull secrets of a service account. Its workloads must come first.
func (c *census) addSecrets(namespace, account string, secrets []v1alpha1.SecretReference) {
	for image := range c.accounts[namespace][account] {
		c.demands[image] = c.demands[image].Plus(workload.Demand{PullSecrets: secrets})
	}
}

// addScaler counts one HorizontalPodAutoscaler.
func (c *census) addScaler(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	target := hpa.Spec.ScaleTargetRef
	c.scaled[v1alpha1.User{Kind: target.Kind, Namespace: hpa.Namespace, Name: target.Name}] = true
}

// stored is true if a stored object is u or has u as its controller.
func (c *census) stored(u v1alpha1.User) bool {
	_, ok := c.uids[workload.WithoutUID(u)]
	return ok
}

// usersOf returns the users of an image, sorted.
func (c *census) usersOf(image string) []v1alpha1.User {
	users := slices.SortedFunc(maps.Keys(c.users[image]), workload.CompareUsers)
	for i, u := range users {
		users[i].UID = c.uids[u]
	}
	return users
}

// demandOf returns what the users of an image ask for.
func (c *census) demandOf(image string) workload.Demand {
	d := c.demands[image]
	for u := range c.users[image] {
		d.Autoscaled = d.Autoscaled || c.scaled[u]
	}
	return d
}
