package workload

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// MaxPlacements is how many different placements a status holds; the CRD allows no more.
	MaxPlacements = 8

	// maxPlacementBytes is how large one of them may be, as JSON: it is in the status of each image of the pod.
	maxPlacementBytes = 4096

	// nodeConditionTaints begins the keys of taints that come and go with the condition of a node, such as not-ready.
	// Admission and the DaemonSet controller add tolerations of them, and none says where a pod belongs.
	nodeConditionTaints = "node.kubernetes.io/"
)

// Anywhere allows every node. It stands for constraints that are too many or too large to keep.
func Anywhere() v1alpha1.Placement {
	return v1alpha1.Placement{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}
}

// PlacementOf is what pods of a spec ask of their node, in a normal form: equal constraints are equal placements, and a
// pod has that of its template. With ofDaemonSet what the DaemonSet controller adds to its pods is left out.
func PlacementOf(spec *corev1.PodSpec, ofDaemonSet bool) v1alpha1.Placement {
	affinity, tolerations, resources := spec.Affinity, spec.Tolerations, extendedResources(spec)
	for _, name := range resources {
		tolerations = append(slices.Clip(tolerations), toleratedFor(name))
	}
	if spec.NodeName != "" {
		affinity, tolerations, resources = onNode(affinity, spec.NodeName), append(slices.Clip(tolerations), unscheduled), nil
	}
	p := v1alpha1.Placement{NodeAffinity: normalAffinity(affinity, ofDaemonSet), Tolerations: normalTolerations(tolerations), Resources: resources}
	if len(spec.NodeSelector) > 0 {
		p.NodeSelector = spec.NodeSelector
	}
	if spec.RuntimeClassName != nil {
		p.RuntimeClassName = *spec.RuntimeClassName
	}
	if len(PlacementKey(p)) > maxPlacementBytes {
		return Anywhere()
	}
	return p
}

// PlacementKey is the same for equal placements in normal form, and only for them.
func PlacementKey(p v1alpha1.Placement) string {
	if p.NodeSelector == nil && p.NodeAffinity == nil && p.Tolerations == nil && p.RuntimeClassName == "" && p.Resources == nil {
		return "{}" // what most pods ask for
	}
	key, _ := json.Marshal(p) // nothing in it can fail to be encoded
	return string(key)
}

// normalAffinity is the required node affinity with everything sorted whose order means nothing, nil if there is none.
func normalAffinity(affinity *corev1.Affinity, ofDaemonSet bool) *corev1.NodeSelector {
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	var terms []corev1.NodeSelectorTerm
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		fields := slices.Clone(term.MatchFields)
		if ofDaemonSet {
			fields = slices.DeleteFunc(fields, func(r corev1.NodeSelectorRequirement) bool { return r.Key == metav1.ObjectNameField })
			if len(term.MatchFields) > 0 && len(fields)+len(term.MatchExpressions) == 0 {
				return nil // one term that allows every node is enough
			}
		}
		terms = append(terms, corev1.NodeSelectorTerm{
			MatchExpressions: normalRequirements(term.MatchExpressions), MatchFields: normalRequirements(fields),
		})
	}
	slices.SortFunc(terms, func(a, b corev1.NodeSelectorTerm) int {
		return cmp.Or(slices.CompareFunc(a.MatchExpressions, b.MatchExpressions, compareRequirements),
			slices.CompareFunc(a.MatchFields, b.MatchFields, compareRequirements))
	})
	terms = slices.CompactFunc(terms, func(a, b corev1.NodeSelectorTerm) bool { return equality.Semantic.DeepEqual(a, b) })
	if terms == nil {
		return nil // the API server stores no affinity without a term
	}
	return &corev1.NodeSelector{NodeSelectorTerms: terms}
}

// normalRequirements leaves requirements alone and returns them sorted, each once and with its values sorted.
func normalRequirements(requirements []corev1.NodeSelectorRequirement) []corev1.NodeSelectorRequirement {
	var normal []corev1.NodeSelectorRequirement
	for _, r := range requirements {
		values := slices.Sorted(slices.Values(r.Values))
		normal = append(normal, corev1.NodeSelectorRequirement{Key: r.Key, Operator: r.Operator, Values: slices.Compact(values)})
	}
	slices.SortFunc(normal, compareRequirements)
	return slices.CompactFunc(normal, func(a, b corev1.NodeSelectorRequirement) bool { return compareRequirements(a, b) == 0 })
}

func compareRequirements(a, b corev1.NodeSelectorRequirement) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Operator, b.Operator), slices.Compare(a.Values, b.Values))
}

// normalTolerations are those that decide where a pod may start, sorted and each once.
func normalTolerations(tolerations []corev1.Toleration) []corev1.Toleration {
	var normal []corev1.Toleration
	for _, t := range tolerations {
		if strings.HasPrefix(t.Key, nodeConditionTaints) || t.Effect == corev1.TaintEffectPreferNoSchedule {
			continue
		}
		// How long the pod may stay is not a matter of where it starts, and Equal is what no operator means.
		t.TolerationSeconds = nil
		t.Operator = cmp.Or(t.Operator, corev1.TolerationOpEqual)
		normal = append(normal, t)
	}
	slices.SortFunc(normal, func(a, b corev1.Toleration) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Effect, b.Effect))
	})
	return slices.Compact(normal)
}

// MergePlacements is have with more, sorted, each once, and bounded; neither is changed, but either may be what it
// returns: many images share one.
func MergePlacements(have, more []v1alpha1.Placement) []v1alpha1.Placement {
	if len(have) == 0 && len(more) == 1 {
		return more
	}
	all := have
	for _, p := range more {
		if !hasPlacement(all, p) {
			all = append(slices.Clip(all), p)
		}
	}
	if len(all) == len(have) {
		return have
	}
	if len(all) > MaxPlacements || hasPlacement(all, Anywhere()) {
		return []v1alpha1.Placement{Anywhere()}
	}
	slices.SortFunc(all, func(a, b v1alpha1.Placement) int { return cmp.Compare(PlacementKey(a), PlacementKey(b)) })
	return all
}

func hasPlacement(all []v1alpha1.Placement, p v1alpha1.Placement) bool {
	return slices.ContainsFunc(all, func(other v1alpha1.Placement) bool { return equality.Semantic.DeepEqual(p, other) })
}
