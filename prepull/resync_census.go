package prepull

import (
	"maps"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// census is what the stored objects of all opted-in namespaces say about images.
type census struct {
	// namespaces are the opted-in ones.
	namespaces map[string]bool
	// partial is set if not all namespaces were read to the end: what was not seen may be there all the same.
	partial bool
	// users are the users of each image, without their UIDs.
	users map[string]map[v1alpha1.User]bool
	// uids are the UIDs of all users that are stored, as far as they are known.
	uids map[v1alpha1.User]types.UID
	// jobs are the users that stored jobs stand for: their CronJobs or themselves.
	jobs map[types.UID]v1alpha1.User
}

func newCensus(namespaces []string) *census {
	c := &census{
		namespaces: map[string]bool{},
		users:      map[string]map[v1alpha1.User]bool{},
		uids:       map[v1alpha1.User]types.UID{},
		jobs:       map[types.UID]v1alpha1.User{},
	}
	for _, ns := range namespaces {
		c.namespaces[ns] = true
	}
	return c
}

// add counts one stored object. Jobs must come before pods.
func (c *census) add(obj metav1.Object) {
	user := userOf(obj)
	switch obj.(type) {
	case *batchv1.Job:
		c.jobs[obj.GetUID()] = user
	case *corev1.Pod:
		if cron, ok := c.jobs[user.UID]; ok && user.UID != "" {
			user = cron
		}
	}
	if obj.GetDeletionTimestamp() != nil || finished(obj) {
		return
	}
	key := withoutUID(user)
	if user.UID != "" || c.uids[key] == "" {
		c.uids[key] = user.UID
	}
	for _, image := range imagesOf(obj) {
		if c.users[image] == nil {
			c.users[image] = map[v1alpha1.User]bool{}
		}
		c.users[image][key] = true
	}
}

// stored is true if a stored object is u or has u as its controller.
func (c *census) stored(u v1alpha1.User) bool {
	_, ok := c.uids[withoutUID(u)]
	return ok
}

// usersOf returns the users of an image, sorted.
func (c *census) usersOf(image string) []v1alpha1.User {
	users := slices.SortedFunc(maps.Keys(c.users[image]), compareUsers)
	for i, u := range users {
		users[i].UID = c.uids[u]
	}
	return users
}
