package prepull

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// CacheOptions let the manager hold what the reconciler reads and no more: of pods, DaemonSets and events about pods only
// our own, and of most objects only the fields that it uses. Read other ones with the manager's API reader.
func CacheOptions(namespace string) cache.Options {
	ours := map[string]cache.Config{namespace: {LabelSelector: labels.SelectorFromSet(v1alpha1.PrepullLabels())}}
	known := &pool{}
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:          {Namespaces: ours, Transform: strip(known.stripPod)},
			&corev1.Event{}:        {Namespaces: map[string]cache.Config{namespace: {FieldSelector: warmth.FailedEvents}}, Transform: strip(known.stripEvent)},
			&corev1.Node{}:         {Transform: strip(known.stripNode)},
			&appsv1.DaemonSet{}:    {Namespaces: ours, Transform: strip(stripDaemonSet)},
			&nodev1.RuntimeClass{}: {Transform: strip(stripRuntimeClass)},
		},
	}
}

// strip makes a transform of a function for one type. What is no such object, such as a tombstone, is left as it is.
func strip[T client.Object](slim func(T)) func(any) (any, error) {
	return func(obj any) (any, error) {
		if o, ok := obj.(T); ok {
			slim(o)
		}
		return obj, nil
	}
}

func (p *pool) stripPod(pod *corev1.Pod) {
	skipped := p.skippedBy(pod.Annotations)
	kept := skipped
	if times := warmth.PackTimes(pod); times != "" {
		kept = map[string]string{warmth.AnnotationTimes: times}
		maps.Copy(kept, skipped)
	}
	pod.ObjectMeta = essentials(pod.ObjectMeta)
	pod.Labels, pod.Annotations = p.labelsOf(pod.Labels), kept
	spec := corev1.PodSpec{NodeName: pod.Spec.NodeName, Volumes: p.heldBy(pod)}
	if spec.NodeName == "" {
		spec.Affinity, spec.SchedulingGates = pod.Spec.Affinity, pod.Spec.SchedulingGates // says which node it is meant for
	}
	pod.Spec = spec
	var conditions []corev1.PodCondition
	for _, c := range pod.Status.Conditions {
		switch c.Type {
		case corev1.PodReady:
			conditions = append(conditions, corev1.PodCondition{Type: c.Type, Status: c.Status})
		case corev1.PodScheduled:
			conditions = append(conditions, corev1.PodCondition{
				Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: p.one(c.Reason), Message: p.one(warmth.SchedulerWords(c.Message)),
			})
		}
	}
	status := corev1.PodStatus{
		StartTime: pod.Status.StartTime, Conditions: conditions,
		InitContainerStatuses: p.stripStatuses(pod.Status.InitContainerStatuses, len(skipped) > 0), ContainerStatuses: p.stripStatuses(pod.Status.ContainerStatuses, false),
	}
	if pod.Status.Phase == corev1.PodFailed {
		status.Phase, status.Reason, status.Message = pod.Status.Phase, p.one(pod.Status.Reason), p.one(pod.Status.Message)
	}
	pod.Status = status
}

// skippedBy are the annotations of a prepull pod that say what it goes without, nil if there are none.
func (p *pool) skippedBy(annotations map[string]string) map[string]string {
	var skipped map[string]string
	for key, value := range annotations {
		if strings.HasPrefix(key, v1alpha1.AnnotationSkipped) {
			if skipped == nil {
				skipped = map[string]string{}
			}
			skipped[p.one(key)] = p.one(value)
		}
	}
	return skipped
}

// heldBy are the image volumes of a prepull pod. Pods of one list share them.
func (p *pool) heldBy(pod *corev1.Pod) []corev1.Volume {
	held := warmth.HeldBy(pod)
	if len(held) == 0 {
		return nil
	}
	p.mu.Lock()
	known := p.held[pod.Labels[v1alpha1.LabelList]]
	p.mu.Unlock()
	same := slices.EqualFunc(held, known, func(a, b corev1.Volume) bool {
		return a.Name == b.Name && a.Image.Reference == b.Image.Reference
	})
	if same {
		return known
	}
	volumes := make([]corev1.Volume, len(held))
	for i, v := range held {
		volumes[i] = corev1.Volume{Name: p.one(v.Name), VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: p.one(v.Image.Reference)}}}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil || len(p.held) == maxPooledLists {
		p.held = map[string][]corev1.Volume{}
	}
	p.held[pod.Labels[v1alpha1.LabelList]] = volumes
	return volumes
}

// stripStatuses keeps the images that containers run if that is asked for. When those started and ended that ran well is in an
// annotation.
func (p *pool) stripStatuses(statuses []corev1.ContainerStatus, images bool) []corev1.ContainerStatus {
	statuses = slices.Clone(statuses)
	for i, s := range statuses {
		image := ""
		if images {
			image = p.one(s.Image)
		}
		kept := corev1.ContainerStatus{
			Name:                 p.one(s.Name),
			Image:                image,
			State:                p.stripState(s.State),
			LastTerminationState: p.stripState(s.LastTerminationState),
		}
		if warmth.RanWell(&kept) {
			kept.State.Terminated.StartedAt, kept.State.Terminated.FinishedAt = metav1.Time{}, metav1.Time{}
		}
		statuses[i] = kept
	}
	return p.statusesOf(statuses)
}

// running says that a container runs.
var running = &corev1.ContainerStateRunning{}

func (p *pool) stripState(s corev1.ContainerState) corev1.ContainerState {
	if s.Running != nil {
		s.Running = running
	}
	if t := s.Terminated; t != nil {
		s.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: t.ExitCode, Reason: p.one(t.Reason), Message: p.one(t.Message), StartedAt: t.StartedAt, FinishedAt: t.FinishedAt,
		}
	}
	return s
}

func (p *pool) stripEvent(e *corev1.Event) {
	*e = corev1.Event{
		ObjectMeta:     essentials(e.ObjectMeta),
		InvolvedObject: corev1.ObjectReference{UID: e.InvolvedObject.UID, FieldPath: p.one(e.InvolvedObject.FieldPath)},
		Message:        p.one(e.Message),
		Count:          e.Count,
		LastTimestamp:  e.LastTimestamp,
	}
}

func (p *pool) stripNode(n *corev1.Node) {
	n.ObjectMeta = essentials(n.ObjectMeta)
	n.Spec = corev1.NodeSpec{Unschedulable: n.Spec.Unschedulable, Taints: n.Spec.Taints}
	for i := range n.Spec.Taints {
		n.Spec.Taints[i].TimeAdded = nil
	}
	var conditions []corev1.NodeCondition
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady, corev1.NodeDiskPressure:
			conditions = append(conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		case v1alpha1.ConditionImagesReady:
			conditions = append(conditions, corev1.NodeCondition{
				Type: c.Type, Status: c.Status, Reason: p.one(c.Reason), Message: p.one(c.Message), LastTransitionTime: c.LastTransitionTime,
			})
		}
	}
	for key, value := range n.Labels {
		n.Labels[p.one(key)] = p.one(value)
	}
	n.Status = corev1.NodeStatus{Conditions: conditions, Images: p.imagesOf(n.Status.Images), Allocatable: p.resourcesOf(p.stripResources(n)), NodeInfo: corev1.NodeSystemInfo{
		KubeletVersion: p.one(n.Status.NodeInfo.KubeletVersion), ContainerRuntimeVersion: p.one(n.Status.NodeInfo.ContainerRuntimeVersion),
	}}
}

// stripResources keeps how large the disk of a node is, and which extended resources it offers, of each of which it has one:
// how many there are changes with the health of devices, and is nothing to us.
func (p *pool) stripResources(n *corev1.Node) corev1.ResourceList {
	var kept corev1.ResourceList
	keep := func(name corev1.ResourceName, quantity resource.Quantity) {
		if kept == nil {
			kept = corev1.ResourceList{}
		}
		kept[corev1.ResourceName(p.one(string(name)))] = quantity
	}
	for _, list := range []corev1.ResourceList{n.Status.Capacity, n.Status.Allocatable} {
		for name := range list {
			if workload.IsExtended(string(name)) && nodeclass.Offers(n, string(name)) {
				keep(name, oneDevice)
			}
		}
	}
	if disk, found := n.Status.Allocatable[corev1.ResourceEphemeralStorage]; found {
		keep(corev1.ResourceEphemeralStorage, disk)
	}
	return kept
}

var oneDevice = *resource.NewQuantity(1, resource.DecimalSI)

func stripRuntimeClass(c *nodev1.RuntimeClass) {
	c.ObjectMeta = essentials(c.ObjectMeta)
	c.Overhead = nil
}

func stripDaemonSet(ds *appsv1.DaemonSet) {
	ds.ManagedFields = nil
	ds.Status = appsv1.DaemonSetStatus{}
}

func essentials(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}

// changed lets only those updates through that change a field which the cache keeps: kubelets and the DaemonSet
// controller write status all the time.
func changed[T any, P interface {
	*T
	client.Object
}]() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := *e.ObjectOld.(P), *e.ObjectNew.(P)
		P(&was).SetResourceVersion("")
		P(&is).SetResourceVersion("")
		return !reflect.DeepEqual(&was, &is)
	}}
}
