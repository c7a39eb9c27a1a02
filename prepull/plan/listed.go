package plan

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Listed is an image in the list of a prepull DaemonSet.
type Listed struct {
	// Name of its init container or of its volume, and the Image.
	Name, Image string

	// Held is set if it is an image volume of the waiting container. If not, an init container brings it.
	Held bool

	// always is set if it is pulled at every start of a pod.
	always bool

	// digest is what the list says that its tag points to; empty if it does not.
	digest string
}

// ListOf are the images of a prepull DaemonSet in the order in which a node pulls them that has none: the kubelet pulls
// image volumes before it starts the first container (SyncPod in pkg/kubelet/kuberuntime/kuberuntime_manager.go). None if
// there is no DaemonSet.
func ListOf(ds *appsv1.DaemonSet) []Listed {
	if ds == nil {
		return nil
	}
	brought, volumes := broughtBy(ds), ds.Spec.Template.Spec.Volumes
	list := slices.Grow([]Listed(nil), len(brought)+len(volumes))
	for _, v := range volumes {
		if v.Image != nil {
			list = append(list, Listed{Name: v.Name, Image: v.Image.Reference, Held: true})
		}
	}
	for i := range brought {
		c := &brought[i]
		list = append(list, Listed{Name: c.Name, Image: c.Image, always: c.ImagePullPolicy == corev1.PullAlways, digest: digestOf(c)})
	}
	return list
}

// named is the image of a list with a name, nil if there is none.
func named(list []Listed, name string) *Listed {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// heldOf counts the images of a list that are held; they come first.
func heldOf(list []Listed) int {
	n := slices.IndexFunc(list, func(l Listed) bool { return !l.Held })
	if n < 0 {
		return len(list)
	}
	return n
}

// broughtBy are the init containers of a prepull DaemonSet that pull an image, in order.
func broughtBy(ds *appsv1.DaemonSet) []corev1.Container {
	if ds == nil || len(ds.Spec.Template.Spec.InitContainers) == 0 {
		return nil
	}
	return ds.Spec.Template.Spec.InitContainers[1:]
}

// HeldIn is how many images a pod holds as image volumes, and mounts.
func HeldIn(spec *corev1.PodSpec) int {
	held := imageVolumes(spec)
	mounted := 0
	for _, c := range spec.Containers {
		for _, m := range c.VolumeMounts {
			if held[m.Name] {
				mounted++
			}
		}
	}
	return mounted
}

// WithoutHeld is a pod that holds no image as an image volume, and is as it was otherwise.
func WithoutHeld(spec corev1.PodSpec) corev1.PodSpec {
	held := imageVolumes(&spec)
	spec.Volumes = slices.DeleteFunc(slices.Clone(spec.Volumes), func(v corev1.Volume) bool { return held[v.Name] })
	spec.Containers = slices.Clone(spec.Containers)
	for i := range spec.Containers {
		c := &spec.Containers[i]
		c.VolumeMounts = slices.DeleteFunc(slices.Clone(c.VolumeMounts), func(m corev1.VolumeMount) bool { return held[m.Name] })
	}
	return spec
}

// imageVolumes are the names of a pod's image volumes.
func imageVolumes(spec *corev1.PodSpec) map[string]bool {
	held := map[string]bool{}
	for _, v := range spec.Volumes {
		if v.Image != nil {
			held[v.Name] = true
		}
	}
	return held
}
