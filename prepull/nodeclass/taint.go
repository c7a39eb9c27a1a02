package nodeclass

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// lifecycleTaints are the keys of taints that come and go with the state of a node: it starts, is full, has a problem or
// leaves. They say nothing about who may use the node, and a prepull pod stays, or starts already, all the same.
var lifecycleTaints = []string{
	"DeletionCandidateOfClusterAutoscaler",
	"ToBeDeletedByClusterAutoscaler",
	"ebs.csi.aws.com/agent-not-ready",
	"efs.csi.aws.com/agent-not-ready",
	"karpenter.sh/disrupted",
	"karpenter.sh/unregistered",
	v1alpha1.TaintWarming,
	"node.cilium.io/agent-not-ready",
	"node.cloudprovider.kubernetes.io/shutdown",
	"node.cloudprovider.kubernetes.io/uninitialized",
	"node.cluster.x-k8s.io/uninitialized",
	"node.gardener.cloud/critical-components-not-ready",
	corev1.TaintNodeDiskPressure,
	corev1.TaintNodeMemoryPressure,
	corev1.TaintNodeNetworkUnavailable,
	corev1.TaintNodeNotReady,
	corev1.TaintNodeOutOfService,
	corev1.TaintNodePIDPressure,
	corev1.TaintNodeUnreachable,
	corev1.TaintNodeUnschedulable,
}

// startupTaintPrefixes are of taints that go once a new node has started: those that keep pods off it until its images are
// there, those that the cluster autoscaler expects to go, and those that the node-readiness-controller takes away for a
// condition, which may be ours.
var startupTaintPrefixes = []string{v1alpha1.GroupVersion.Group + "/", v1alpha1.StartupTaintPrefix, v1alpha1.ReadinessTaintPrefix}

// AgentTaintSuffix is of taints that network and storage drivers remove once their agent runs on the node.
const AgentTaintSuffix = "/agent-not-ready"

// lifecycleTolerations tolerate the lifecycle taints whose keys are known.
func lifecycleTolerations() []corev1.Toleration {
	tolerations := make([]corev1.Toleration, 0, len(lifecycleTaints))
	for _, key := range lifecycleTaints {
		tolerations = append(tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists})
	}
	return tolerations
}

func isStartupTaint(t *corev1.Taint) bool {
	begins := func(prefix string) bool { return strings.HasPrefix(t.Key, prefix) }
	return slices.ContainsFunc(startupTaintPrefixes, begins) || strings.HasSuffix(t.Key, AgentTaintSuffix)
}

// lasts tells whether a taint keeps pods off a node for longer than a state of the node.
func lasts(t *corev1.Taint) bool {
	return (t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute) &&
		!isStartupTaint(t) && !slices.Contains(lifecycleTaints, t.Key)
}

// lastingTaints of a node, sorted, and without the time when they were added.
func lastingTaints(n *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	for i := range n.Spec.Taints {
		if t := &n.Spec.Taints[i]; lasts(t) {
			taints = append(taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: t.Effect})
		}
	}
	slices.SortFunc(taints, func(a, b corev1.Taint) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value), cmp.Compare(a.Effect, b.Effect))
	})
	return slices.Compact(taints)
}

// Tolerations let prepull pods start on the nodes of a class, whatever state these are in, and on no others that have the
// same labels and more taints. A new node may have the taint of the gate before anybody has seen it; gateKey is its key,
// empty if there is no gate.
func (c *Class) Tolerations(gateKey string) []corev1.Toleration {
	if c.anyTaints {
		return []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	var tolerations []corev1.Toleration
	for _, t := range c.taints {
		tolerations = append(tolerations, corev1.Toleration{
			Key: t.Key, Operator: corev1.TolerationOpEqual, Value: t.Value, Effect: t.Effect,
		})
	}
	tolerations = append(tolerations, lifecycleTolerations()...)
	// A toleration matches whole keys only.
	var starting []string
	if gateKey != "" && !slices.Contains(lifecycleTaints, gateKey) {
		starting = append(starting, gateKey)
	}
	for _, n := range c.Nodes {
		for i := range n.Spec.Taints {
			if t := &n.Spec.Taints[i]; isStartupTaint(t) && !slices.Contains(lifecycleTaints, t.Key) {
				starting = append(starting, t.Key)
			}
		}
	}
	slices.Sort(starting)
	for _, key := range slices.Compact(starting) {
		tolerations = append(tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists})
	}
	return tolerations
}
