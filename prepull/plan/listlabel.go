package plan

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// listLabel is the value of the label of a DaemonSet that is made for its pods: what they do, a dot, and the order in which
// they do it, with what tags point to. A pod with the value has the list.
func listLabel(ds *appsv1.DaemonSet) string {
	var order []string
	for _, l := range ListOf(ds) {
		order = append(order, l.Name+" "+l.digest)
	}
	return podHash(&ds.Spec.Template.Spec) + "." + hashOf(order)
}

// samePods tells whether pods of the desired DaemonSet do what pods of the stored one do, apart from the order. Where they do
// it, and with which pull secrets, is left out: that is not a reason to restart one. So is which images they hold.
func samePods(stored, desired *appsv1.DaemonSet) bool {
	label := stored.Labels[v1alpha1.LabelList]
	base, _, found := strings.Cut(label, ".")
	if !found {
		// An older manager wrote it.
		base, _, _ = strings.Cut(label, "-")
		return base == orderedPodHash(&desired.Spec.Template.Spec)
	}
	return base == podHash(&desired.Spec.Template.Spec)
}

// dividable tells whether the label of a DaemonSet says the same of its pods when other images are held.
func dividable(ds *appsv1.DaemonSet) bool {
	return strings.Contains(ds.Labels[v1alpha1.LabelList], ".")
}

// podHash is a hash of what a pod does, apart from the order, and from which images it holds.
func podHash(spec *corev1.PodSpec) string {
	pod := anywhere(spec)
	var images []string
	for i := range pod.InitContainers[1:] {
		c := &pod.InitContainers[1+i]
		images = append(images, c.Name+" "+c.Image+" "+string(c.ImagePullPolicy))
	}
	for _, v := range pod.Volumes {
		if v.Image != nil {
			images = append(images, v.Name+" "+v.Image.Reference+" "+string(v.Image.PullPolicy))
		}
	}
	slices.Sort(images)
	pod.InitContainers = pod.InitContainers[:1]
	pod.Volumes = slices.DeleteFunc(slices.Clone(pod.Volumes), func(v corev1.Volume) bool { return v.Image != nil })
	pod.Containers = slices.Clone(pod.Containers)
	for i := range pod.Containers {
		pod.Containers[i].VolumeMounts = nil
	}
	return hashOf(struct {
		Pod    corev1.PodSpec
		Images []string
	}{pod, images})
}

// orderedPodHash is the hash that older managers made of what pods do, which brought all images.
func orderedPodHash(spec *corev1.PodSpec) string {
	pod := anywhere(spec)
	pod.InitContainers = slices.Clone(pod.InitContainers)
	for i := range pod.InitContainers {
		pod.InitContainers[i].Env = nil
	}
	return hashOf(&pod)
}

// anywhere is what a pod does, without where it does it, and with which pull secrets.
func anywhere(spec *corev1.PodSpec) corev1.PodSpec {
	pod := *spec
	pod.Affinity, pod.Tolerations, pod.ImagePullSecrets = nil, nil, nil
	return pod
}
