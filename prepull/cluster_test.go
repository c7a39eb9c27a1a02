package prepull

import (
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// noon is the time of tests.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var testOptions = planOptions{
	Namespace:          "kube-prepull",
	NoopImage:          "registry.test/noop:v1",
	MaxImagesPerNode:   50,
	MaxNodeClasses:     30,
	MaxConcurrentNodes: intstr.FromInt32(10),
	PullDeadline:       15 * time.Minute,
}

func testNode(name, arch string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelOSStable: "linux", corev1.LabelArchStable: arch, corev1.LabelHostname: name,
		}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

// testNodes are n ready amd64 nodes.
func testNodes(n int) []corev1.Node {
	var nodes []corev1.Node
	for i := range n {
		nodes = append(nodes, testNode(fmt.Sprintf("node-%03d", i), "amd64"))
	}
	return nodes
}

// learnedObject is a PrepullImage that the learner made, with a number of starts.
func learnedObject(image string, starts int) v1alpha1.PrepullImage {
	o := declaredObject(ObjectName(image), image)
	o.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}
	o.Status.FirstSeenTime = &o.CreationTimestamp
	o.Status.Starts = &v1alpha1.Starts{Count: *resource.NewQuantity(int64(starts), resource.DecimalSI), Time: metav1.NewTime(noon)}
	return o
}

func declaredObject(name, image string) v1alpha1.PrepullImage {
	return v1alpha1.PrepullImage{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))},
		Spec:       v1alpha1.PrepullImageSpec{Image: image},
	}
}

// done is an init container that ran well, from one second of the test hour to another.
func done(name string, from, to int) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason:     "Completed",
		StartedAt:  metav1.NewTime(noon.Add(time.Duration(from) * time.Second)),
		FinishedAt: metav1.NewTime(noon.Add(time.Duration(to) * time.Second)),
	}}}
}

// waits is an init container that waits for a reason; PodInitializing is also what a pull looks like.
func waits(name, reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message},
	}}
}

// testPod was started at once, on a node whose clock is right.
func testPod(node string, created time.Time, statuses ...corev1.ContainerStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "prepull-" + node, Labels: v1alpha1.PrepullLabels(), CreationTimestamp: metav1.NewTime(created)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{StartTime: &metav1.Time{Time: created}, InitContainerStatuses: statuses},
	}
}

// carryOut writes a plan into a state, as the API server would, and returns what was written.
func (s *state) carryOut(p plan) {
	for _, ds := range slices.Concat(p.move, p.write) {
		next := ds.DeepCopy()
		next.CreationTimestamp = metav1.NewTime(noon)
		if was := s.daemonSet(ds.Name); was != nil {
			next.CreationTimestamp = was.CreationTimestamp
		}
		s.drop(ds.Name)
		s.daemonSets = append(s.daemonSets, next)
	}
	for _, ds := range slices.Concat(p.remove, p.drop) {
		s.drop(ds.Name)
	}
	for _, c := range p.statuses {
		for i := range s.images {
			if o := &s.images[i]; o.Name == c.name {
				o.Status.Conditions, o.Status.State = c.status.Conditions, c.status.State
				o.Status.SizeBytes, o.Status.Size = c.status.SizeBytes, c.status.Size
				o.Status.Nodes, o.Status.Ready = c.status.Nodes, c.status.Ready
				o.Status.LastPullSeconds, o.Status.Retries = c.status.LastPullSeconds, c.status.Retries
				o.Status.FirstReadyTime = c.status.FirstReadyTime
			}
		}
	}
}

func (s *state) drop(name string) {
	var kept []*appsv1.DaemonSet
	for _, ds := range s.daemonSets {
		if ds.Name != name {
			kept = append(kept, ds)
		}
	}
	s.daemonSets = kept
}

// runPods replaces the prepull pods by new ones that every node has run to the end, or up to an image that fails.
// The words say why it does.
func (s *state) runPods(created time.Time, fails func(node, image string) (words string)) {
	s.pods = nil
	found, _ := candidates(s.images, noon)
	for _, c := range classify(s.nodes, placementsOf(found), testOptions.MaxNodeClasses).classes {
		ds := s.daemonSet(daemonSetName(c))
		if ds == nil {
			continue
		}
		list := ListOf(ds)
		for _, n := range c.nodes {
			statuses := []corev1.ContainerStatus{done(installContainer, 0, 1)}
			for i, container := range list {
				if words := fails(n.Name, container.Image); words != "" {
					statuses = append(statuses, waits(container.Name, "ErrImagePull", words))
					for _, behind := range list[i+1:] {
						statuses = append(statuses, waits(behind.Name, "PodInitializing", ""))
					}
					break
				}
				statuses = append(statuses, done(container.Name, 2*i+2, 2*i+3))
			}
			pod := testPod(n.Name, created, statuses...)
			pod.Labels = maps.Clone(ds.Spec.Template.Labels)
			if len(statuses) == len(list)+1 && ranWell(&statuses[len(list)]) {
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			}
			s.pods = append(s.pods, pod)
		}
	}
}

// images of the list of a class, in order.
func (s *state) listOf(class string) []string {
	var images []string
	for _, c := range ListOf(s.daemonSet(v1alpha1.Name + "-" + class)) {
		images = append(images, c.Image)
	}
	return images
}

func (s *state) status(name string) v1alpha1.PrepullImageStatus {
	for i := range s.images {
		if s.images[i].Name == name {
			return s.images[i].Status
		}
	}
	return v1alpha1.PrepullImageStatus{}
}
