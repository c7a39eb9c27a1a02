package nodeclass

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// RuntimeClasses are what those that exist ask of nodes, by name; nil if it is nothing.
type RuntimeClasses map[string]*nodev1.Scheduling

// RuntimeClassesOf are the RuntimeClasses of a list.
func RuntimeClassesOf(list []nodev1.RuntimeClass) RuntimeClasses {
	classes := make(RuntimeClasses, len(list))
	for i := range list {
		classes[list[i].Name] = list[i].Scheduling
	}
	return classes
}

// Resolve returns what a placement asks for together with its RuntimeClass, as the admission plugin RuntimeClass adds it to a
// pod (plugin/pkg/admission/runtimeclass). If that lets no pod in, it fits nowhere, and refusal says why.
func (r RuntimeClasses) Resolve(p v1alpha1.Placement) (resolved v1alpha1.Placement, refusal string) {
	name := p.RuntimeClassName
	if name == "" {
		return p, ""
	}
	p.RuntimeClassName = ""
	scheduling, found := r[name]
	if !found {
		return nowhere(), fmt.Sprintf("RuntimeClass %s does not exist: no pod can start.", name)
	}
	if scheduling == nil {
		return p, ""
	}
	selector := map[string]string{}
	maps.Copy(selector, p.NodeSelector)
	for _, key := range slices.Sorted(maps.Keys(scheduling.NodeSelector)) {
		want := scheduling.NodeSelector[key]
		if own, asked := p.NodeSelector[key]; asked && own != want {
			return nowhere(), fmt.Sprintf("RuntimeClass %s asks for nodes with %s=%s, and its pods for %s=%s: no pod can start.", name, key, want, key, own)
		}
		selector[key] = want
	}
	if len(selector) > 0 {
		p.NodeSelector = selector
	}
	for _, t := range scheduling.Tolerations {
		same := func(have corev1.Toleration) bool { return equality.Semantic.DeepEqual(have, t) }
		if !slices.ContainsFunc(p.Tolerations, same) {
			p.Tolerations = append(slices.Clip(p.Tolerations), t)
		}
	}
	return p, ""
}

// nowhere fits no node: an affinity without a term allows none.
func nowhere() v1alpha1.Placement {
	return v1alpha1.Placement{NodeAffinity: &corev1.NodeSelector{}}
}
