package plan

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// digestVariable in an init container is the digest that its image's tag points to. With another one the pods are
// restarted, and since the image is always pulled, the nodes get what the tag points to now.
const digestVariable = "KUBE_PREPULL_DIGEST"

// followTags decides for each image of a list whether it is always pulled, and with which digest. That pods need an image
// no longer at every start waits for another change of the list: it is no reason to restart a pod.
func followTags(list []entry, current []Listed) {
	same := len(list) == len(current) && !slices.ContainsFunc(list, func(e entry) bool {
		return !slices.ContainsFunc(current, func(was Listed) bool { return was.Name == e.Name })
	})
	for i := range list {
		e := &list[i]
		e.always, e.digest = e.alwaysPull && !Pinned(e.image), ""
		at := slices.IndexFunc(current, func(was Listed) bool { return was.Name == e.Name })
		was := at >= 0 && current[at].always
		e.always = e.always || same && was
		if !e.always {
			continue
		}
		e.digest = e.Candidate.digest
		if was {
			e.digest = cmp.Or(e.digest, current[at].digest)
		}
	}
}

// Pinned tells whether an image string names a digest, which cannot move.
func Pinned(image string) bool {
	return strings.Contains(image, "@")
}

// digestOf is the digest in an init container of a list, empty if there is none.
func digestOf(c *corev1.Container) string {
	for _, variable := range c.Env {
		if variable.Name == digestVariable {
			return variable.Value
		}
	}
	return ""
}

// keepList gives a DaemonSet the label of the stored one, whose pods do the same. A digest that was not known before restarts
// no pod.
func keepList(ds, stored *appsv1.DaemonSet) {
	label := stored.Labels[v1alpha1.LabelList]
	metav1.SetMetaDataLabel(&ds.ObjectMeta, v1alpha1.LabelList, label)
	metav1.SetMetaDataLabel(&ds.Spec.Template.ObjectMeta, v1alpha1.LabelList, label)
}

// keepUnknown leaves digests out that the stored DaemonSet does not list. They are written after the roll.
func keepUnknown(ds *appsv1.DaemonSet, stored []Listed) {
	brought := broughtBy(ds)
	for i := range brought {
		if was := named(stored, brought[i].Name); was == nil || was.digest == "" {
			brought[i].Env = nil
		}
	}
}

// moves tells whether a tag of a list points elsewhere than it did in an equal list before.
func moves(was, is []Listed) bool {
	return slices.ContainsFunc(is, func(l Listed) bool {
		before := named(was, l.Name)
		return before != nil && before.digest != "" && before.digest != l.digest
	})
}
