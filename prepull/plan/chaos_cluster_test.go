package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// control does what the DaemonSet controller does in one go.
func (c *chaos) control() {
	for _, ds := range c.seen {
		if c.DaemonSet(ds.Name) == nil {
			continue
		}
		revision := hashOf(ds.Spec.Template)
		surge := 0
		rolling := ds.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType
		if rolling {
			surge = ds.Spec.UpdateStrategy.RollingUpdate.MaxSurge.IntValue()
		}
		for i := range c.Nodes {
			n := &c.Nodes[i]
			if pods := c.podsOf(ds, n); len(pods) == 2 && (!rolling || warmth.Ready(pods[1])) {
				gone := pods[1]
				if rolling {
					gone = pods[0]
				}
				c.deletePods(func(p *corev1.Pod) bool { return p == gone })
			} else if len(pods) == 2 && pods[1].Labels[revisionLabel] != revision {
				gone := pods[1]
				c.deletePods(func(p *corev1.Pod) bool { return p == gone })
			}
			pods := c.podsOf(ds, n)
			start, stay := runsOn(ds, n)
			switch {
			case start && len(pods) == 0:
				c.start(ds, n, revision)
			case !stay:
				c.deletePods(func(p *corev1.Pod) bool { return slices.Contains(pods, p) })
			case rolling && len(pods) == 2:
				surge--
			}
		}
		for _, i := range c.Perm(len(c.Nodes)) {
			pods := c.podsOf(ds, &c.Nodes[i])
			if !rolling || len(pods) != 1 || pods[0].Labels[revisionLabel] == revision {
				continue
			}
			if !warmth.Ready(pods[0]) {
				c.deletePods(func(p *corev1.Pod) bool { return p == pods[0] })
			} else if surge--; surge < 0 {
				continue
			}
			c.start(ds, &c.Nodes[i], revision)
		}
	}
}

// podsOf are the pods of a DaemonSet on a node, the oldest first.
func (c *chaos) podsOf(ds *appsv1.DaemonSet, n *corev1.Node) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, p := range c.Pods {
		if warmth.NodeOf(p) == n.Name && daemonSetOf(p) == ds.Name {
			pods = append(pods, p)
		}
	}
	return pods
}

func (c *chaos) start(ds *appsv1.DaemonSet, n *corev1.Node, revision string) {
	c.made++
	pod := prepulltest.Pod(n.Name, c.now)
	pod.Name = fmt.Sprintf("%s-%d", ds.Name, c.made)
	pod.Labels = map[string]string{revisionLabel: revision}
	for key, value := range ds.Spec.Template.Labels {
		pod.Labels[key] = value
	}
	for _, l := range ds.Spec.Template.Spec.InitContainers {
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, prepulltest.Waits(l.Name, "PodInitializing", l.Image))
	}
	pod.Spec.Volumes = ds.Spec.Template.Spec.Volumes
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(warmth.WaitContainer, "PodInitializing", "")}
	if c.full[n.Name] {
		pod.Spec.NodeName = ""
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Values: []string{n.Name}}}}},
		}}}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes are available: 1 Too many pods."}}
	}
	c.Pods = append(slices.Clone(c.Pods), pod)
}

// runsOn tells whether a DaemonSet starts pods on a node, and whether one that is there stays.
func runsOn(ds *appsv1.DaemonSet, n *corev1.Node) (start, stay bool) {
	spec := &ds.Spec.Template.Spec
	if matches, err := nodeaffinity.NewRequiredNodeAffinity(nil, spec.Affinity).Match(n); err != nil || !matches {
		return false, false
	}
	repelled := func(effects ...corev1.TaintEffect) bool {
		_, found := schedulingv1.FindMatchingUntoleratedTaint(logr.Discard(), n.Spec.Taints, spec.Tolerations, func(t *corev1.Taint) bool {
			return slices.Contains(effects, t.Effect)
		}, false)
		return found
	}
	return !repelled(corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute), !repelled(corev1.TaintEffectNoExecute)
}

// skip has pods go on without images.
func (c *chaos) skip(skips []Skip) {
	c.Pods = slices.Clone(c.Pods)
	for _, s := range skips {
		if i := slices.Index(c.Pods, s.Pod); i >= 0 {
			c.Pods[i] = s.Pod.DeepCopy()
			metav1.SetMetaDataAnnotation(&c.Pods[i].ObjectMeta, v1alpha1.AnnotationSkipped+s.Container, warmth.SkippedWords(s.Failure, c.now))
		}
	}
}

func (c *chaos) mountsImages(node string) bool {
	return slices.ContainsFunc(c.Nodes, func(n corev1.Node) bool { return n.Name == node && n.Status.NodeInfo.KubeletVersion != "v1.35.1" })
}

// kubelets lets every pod get as far as it gets.
func (c *chaos) kubelets() {
	pods := slices.Clone(c.Pods)
	for i, p := range pods {
		if warmth.Ready(p) || c.slow[p.Name] {
			continue
		}
		if p.Spec.NodeName == "" {
			if c.full[warmth.NodeOf(p)] {
				continue
			}
			p = p.DeepCopy()
			p.Spec.NodeName, p.Status.Conditions = warmth.NodeOf(p), nil
		}
		if len(p.Spec.Volumes) > 1 && !c.mountsImages(p.Spec.NodeName) {
			continue // no volume plugin matched
		}
		p = p.DeepCopy()
		pods[i] = p
		stuck := false
		for j := range p.Status.InitContainerStatuses {
			s := &p.Status.InitContainerStatuses[j]
			if s.State.Terminated != nil {
				continue
			}
			image := s.State.Waiting.Message
			if s.State.Waiting.Reason == "ErrImagePull" {
				image = strings.TrimSuffix(image, ": not found")
			}
			_, _, skipped := warmth.SkippedBy(p, s.Name)
			if !skipped && (c.failing[image] || c.failing[p.Spec.NodeName+" "+image]) {
				*s = prepulltest.Waits(s.Name, "ErrImagePull", image+": not found")
				stuck = true
				break
			}
			*s = prepulltest.Done(s.Name, 2*j, 2*j+1)
		}
		for _, v := range p.Spec.Volumes {
			if v.Image != nil && !stuck && (c.failing[v.Image.Reference] || c.failing[p.Spec.NodeName+" "+v.Image.Reference]) {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(warmth.WaitContainer, "ErrImagePull", fmt.Sprintf("Failed to pull image %q: not found", v.Image.Reference))}
				stuck = true
			}
		}
		if !stuck {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: warmth.WaitContainer, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
	}
	c.Pods = pods
}
