package workload

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxResources is how many extended resources a placement holds; the CRD allows no more.
const maxResources = 16

// extendedResources are those that the containers of a pod ask for, sorted and each once. A limit is a request, too: for
// these the two are equal, and the API server adds the request only when the pod is created.
func extendedResources(spec *corev1.PodSpec) []string {
	asked := map[string]bool{}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			for _, list := range []corev1.ResourceList{containers[i].Resources.Requests, containers[i].Resources.Limits} {
				for name, quantity := range list {
					if IsExtended(string(name)) && !quantity.IsZero() {
						asked[string(name)] = true
					}
				}
			}
		}
	}
	names := slices.Sorted(maps.Keys(asked)) // nil if there are none
	return names[:min(len(names), maxResources)]
}

// IsExtended tells whether a resource is one that nodes offer or not: all others every node has, or the pod does not start
// with them at all (IsExtendedResourceName in pkg/apis/core/v1/helper/helpers.go).
func IsExtended(name string) bool {
	const quota = corev1.DefaultResourceRequestsPrefix
	native := !strings.Contains(name, "/") || strings.Contains(name, corev1.ResourceDefaultNamespacePrefix)
	return !native && !strings.HasPrefix(name, quota) && len(validation.IsQualifiedName(quota+name)) == 0
}

// toleratedFor is what the admission plugin ExtendedResourceToleration adds to a pod that asks for a resource: whoever
// taints the nodes that offer it gives the taint its name (plugin/pkg/admission/extendedresourcetoleration).
func toleratedFor(resource string) corev1.Toleration {
	return corev1.Toleration{Key: resource, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
}

// withoutClaimed leaves out the resources that the scheduler took for a pod from the devices of a DRA driver: which device
// class stands for a resource, a pod tells only then (DRAExtendedResource).
func withoutClaimed(resources []string, pod *corev1.Pod) []string {
	claims := pod.Status.ExtendedResourceClaimStatus
	if claims == nil {
		return resources
	}
	var left []string
	for _, name := range resources {
		claimed := func(r corev1.ContainerExtendedResourceRequest) bool { return r.ResourceName == name }
		if !slices.ContainsFunc(claims.RequestMappings, claimed) {
			left = append(left, name)
		}
	}
	return left
}
