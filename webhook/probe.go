package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/admission"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// probeTime is how long the API server has to answer.
	probeTime = 10 * time.Second

	probeContainer = "probe"
)

// probe asks the API server, by dry runs, what becomes of the pull policy of a pod.
type probe struct {
	client client.Client
	image  string
}

// ask finds out whether a pod with the pull policy IfNotPresent is admitted to a namespace and stays what it is. Where it is
// refused, one with Always tells whether the policy is the reason. The error says why a pod was refused; nothing else can go wrong.
func (p probe) ask(ctx context.Context, namespace string) (pullPolicy, error) {
	stored, refusal := p.create(ctx, namespace, corev1.PullIfNotPresent)
	switch {
	case refusal == nil && stored == corev1.PullIfNotPresent:
		return policyRewritten, nil
	case refusal == nil:
		return policyKept, nil
	case !admission.Refused(refusal):
		return policyUnknown, refusal
	}
	if _, err := p.create(ctx, namespace, corev1.PullAlways); err == nil {
		return policyKept, refusal
	}
	return policyUnknown, refusal
}

// create lets the API server admit a pod as a dry run, and returns the policy that it would have.
func (p probe) create(ctx context.Context, namespace string, policy corev1.PullPolicy) (corev1.PullPolicy, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	pod := probePod(namespace, p.image, policy)
	if err := p.client.Create(ctx, pod, client.DryRunAll); err != nil {
		return "", fmt.Errorf("creating a pod as a dry run: %w", err)
	}
	// An injector may have put other containers before it.
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == probeContainer })
	if i < 0 {
		return "", errors.New("the pod has become another one")
	}
	return pod.Spec.Containers[i].ImagePullPolicy, nil
}

// probePod is one that Pod Security "restricted" admits, of an image that policies have to let in anyhow, with the requests
// and limits that a quota may demand. It names no user: some policies allow only those that they give. It is opted out, or the
// answer would be of our own making.
func probePod(namespace, image string, policy corev1.PullPolicy) *corev1.Pod {
	container := workload.RestrictedContainer(probeContainer, image)
	container.ImagePullPolicy = policy
	little := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	container.Resources = corev1.ResourceRequirements{Requests: little, Limits: little}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: v1alpha1.Name + "-probe-", Labels: map[string]string{v1alpha1.LabelEnabled: v1alpha1.Disabled},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: ptr.To(false),
			SecurityContext:              workload.RestrictedPod(true),
			Containers:                   []corev1.Container{container},
		},
	}
}
