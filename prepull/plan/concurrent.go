package plan

import (
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
)

// concurrentNodes is how many nodes of a class may take a new list at the same time.
func concurrentNodes(o Options, c *nodeclass.Class) int {
	nodes, err := intstr.GetScaledValueFromIntOrPercent(&o.MaxConcurrentNodes, len(c.Nodes), true)
	if err != nil {
		return 1
	}
	return nodes
}

// divideConcurrent divides the nodes that may pull at the same time among the classes whose pods are replaced: those that pull
// something new from the same registry meanwhile share the number, in proportion to how many of their nodes lack it, so that they
// are done at about the same time. One node of each goes on in any case, and who has no more nodes than its share needs no other
// number. A percentage is a share of each class already.
func divideConcurrent(rollouts []*rollout, o Options) {
	lack, all := make([]map[string]int, len(rollouts)), map[string]int{}
	for i, r := range rollouts {
		lack[i] = r.lacking()
		for registry, nodes := range lack[i] {
			all[registry] += nodes
		}
	}
	for i, r := range rollouts {
		r.concurrent = concurrentNodes(o, r.Class)
		if o.MaxConcurrentNodes.Type == intstr.String {
			continue
		}
		whole := r.concurrent
		for registry, nodes := range lack[i] {
			if share := max(1, whole*nodes/all[registry]); share < len(r.Nodes) {
				r.concurrent = min(r.concurrent, share)
			}
		}
	}
}

// lacking is how many nodes of a class whose pods are replaced lack an image of a registry, by the registry.
func (r *rollout) lacking() map[string]int {
	if !r.replacesPods() {
		return nil
	}
	lack := map[string]int{}
	for _, e := range r.list {
		registry := e.registry()
		// A node whose prepull pod does not start pulls nothing.
		if nodes := len(r.Pullable) - r.of[e.Candidate].Warmth.Ready() - len(r.Warmth.Broken); nodes > lack[registry] {
			lack[registry] = nodes
		}
	}
	return lack
}
