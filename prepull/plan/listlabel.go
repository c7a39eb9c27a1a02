package plan

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// listLabel is the value of the label of a DaemonSet that is made for its pods: what they do, an underscore, and the order in
// which they do it, with what tags point to. A pod with the value has the list.
func listLabel(ds *appsv1.DaemonSet) string {
	var order []string
	for _, l := range ListOf(ds) {
		order = append(order, l.Name+" "+l.digest)
	}
	return podHash(&ds.Spec.Template.Spec) + "_" + hashOf(order)
}

// samePods tells whether pods of the desired DaemonSet do what pods of the stored one do, apart from the order. Where they do
// it, with which pull secrets, and how a manager writes that down is left out: that is not a reason to restart one. So is which
// images they hold. A label of an earlier manager depends on how that wrote it down, so the pods themselves are compared.
func samePods(stored, desired *appsv1.DaemonSet) bool {
	label := stored.Labels[v1alpha1.LabelList]
	base, _, found := strings.Cut(label, "_")
	if !found && label != "" {
		base = podHash(&stored.Spec.Template.Spec)
	}
	return base == podHash(&desired.Spec.Template.Spec)
}

// dividable tells whether the label of a DaemonSet says the same of its pods when other images are held.
func dividable(ds *appsv1.DaemonSet) bool {
	return strings.ContainsAny(ds.Labels[v1alpha1.LabelList], "._")
}

// podHash is a hash of what a pod does, apart from the order, and from which images it holds: with which images, which noop and
// its pull secrets, on which network, and with which priority. A pod that cannot pull noop waits for others in vain.
func podHash(spec *corev1.PodSpec) string {
	var images, noop []string
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if i == 0 {
			noop = append(noop, c.Image)
		} else {
			images = append(images, c.Name+" "+c.Image+" "+string(c.ImagePullPolicy))
		}
	}
	for _, v := range spec.Volumes {
		if v.Image != nil {
			images = append(images, v.Name+" "+v.Image.Reference+" "+string(v.Image.PullPolicy))
		}
	}
	for i := range spec.Containers {
		noop = append(noop, spec.Containers[i].Image)
	}
	for _, secret := range spec.ImagePullSecrets {
		if !strings.HasPrefix(secret.Name, v1alpha1.CopyPrefix) {
			noop = append(noop, secret.Name)
		}
	}
	slices.Sort(images)
	return hashOf(struct {
		Images, Noop      []string
		HostNetwork       bool
		PriorityClassName string
	}{images, noop, spec.HostNetwork, spec.PriorityClassName})
}
