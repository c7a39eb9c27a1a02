package workload

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// restrictedUser owns the processes of our own pods. It is numeric because the kubelet cannot check the name of a user, and
// set because the user that an image names may be root.
const restrictedUser = 65532

// RestrictedPod is for pods of our own that Pod Security "restricted" is to admit. With assigned set it names no user: the
// cluster gives each namespace its own and refuses all others, as SecurityContextConstraints of OpenShift do.
func RestrictedPod(assigned bool) *corev1.PodSecurityContext {
	security := &corev1.PodSecurityContext{
		RunAsNonRoot:   ptr.To(true),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if !assigned {
		security.RunAsUser, security.RunAsGroup = ptr.To[int64](restrictedUser), ptr.To[int64](restrictedUser)
	}
	return security
}

// RestrictedContainer is one of a pod of our own that does next to nothing. The requests are there for namespaces that
// demand some. There are no limits: noop needs none, and a limit that is too small for some runtime would hold up a whole
// list. The working directory is not the one that an image names: that need not be a path that can be entered.
func RestrictedContainer(name, image string) corev1.Container {
	return corev1.Container{
		Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, WorkingDir: "/",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("1m"),
			corev1.ResourceMemory: resource.MustParse("4Mi"),
		}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			ReadOnlyRootFilesystem:   ptr.To(true),
		},
	}
}
