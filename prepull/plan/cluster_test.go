package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

var testOptions = Options{
	Namespace:          "kube-prepull",
	NoopImage:          "registry.test/noop:v1",
	NoopFolder:         "/prepull-0123456789abcdef0123456789abcdef",
	MaxImagesPerNode:   50,
	MaxNodeClasses:     30,
	MaxConcurrentNodes: intstr.FromInt32(10),
	PullDeadline:       15 * time.Minute,
}

// carryOut writes a plan into a state, as the API server would, and returns what was written.
func (s *State) carryOut(p Plan) {
	for _, ds := range slices.Concat(p.UpdateInPlace, p.Roll) {
		next := ds.DeepCopy()
		next.CreationTimestamp = metav1.NewTime(prepulltest.Noon)
		if was := s.DaemonSet(ds.Name); was != nil {
			next.CreationTimestamp = was.CreationTimestamp
		}
		s.drop(ds.Name)
		s.DaemonSets = append(s.DaemonSets, next)
	}
	for _, ds := range slices.Concat(p.DeleteEmpty, p.DeleteOrphaned) {
		s.drop(ds.Name)
	}
	for _, c := range p.Statuses {
		for i := range s.Images {
			if o := &s.Images[i]; o.Name == c.Name {
				o.Status.Conditions, o.Status.State = c.Status.Conditions, c.Status.State
				o.Status.SizeBytes, o.Status.Size = c.Status.SizeBytes, c.Status.Size
				o.Status.Nodes, o.Status.Ready = c.Status.Nodes, c.Status.Ready
				o.Status.LastPullSeconds, o.Status.Retries = c.Status.LastPullSeconds, c.Status.Retries
				o.Status.FirstReadyTime = c.Status.FirstReadyTime
			}
		}
	}
}

func (s *State) drop(name string) {
	var kept []*appsv1.DaemonSet
	for _, ds := range s.DaemonSets {
		if ds.Name != name {
			kept = append(kept, ds)
		}
	}
	s.DaemonSets = kept
}

// runPods replaces the prepull pods by new ones that every node has run to the end, or up to an image that fails.
// The words say why it does.
func (s *State) runPods(created time.Time, fails func(node, image string) (words string)) {
	s.Pods = nil
	found, _ := candidates(s.Images, prepulltest.Noon)
	for _, c := range nodeclass.Classify(s.Nodes, askedOf(found), testOptions.MaxNodeClasses, prepulltest.Noon).Classes {
		ds := s.DaemonSet(daemonSetName(c.Name, 1))
		if ds == nil {
			continue
		}
		list, held := broughtBy(ds), ListOf(ds)[:heldOf(ListOf(ds))]
		for _, n := range c.Nodes {
			statuses := []corev1.ContainerStatus{prepulltest.Done(warmth.InstallContainer, 0, 1)}
			for i, container := range list {
				if words := fails(n.Name, container.Image); words != "" {
					statuses = append(statuses, prepulltest.Waits(container.Name, "ErrImagePull", words))
					for _, behind := range list[i+1:] {
						statuses = append(statuses, prepulltest.Waits(behind.Name, "PodInitializing", ""))
					}
					break
				}
				statuses = append(statuses, prepulltest.Done(container.Name, 2*i+2, 2*i+3))
			}
			pod := prepulltest.Pod(n.Name, created, statuses...)
			pod.Labels = maps.Clone(ds.Spec.Template.Labels)
			pod.Spec.Volumes = ds.Spec.Template.Spec.Volumes
			stuck := slices.IndexFunc(held, func(l Listed) bool { return fails(n.Name, l.Image) != "" })
			switch {
			case len(statuses) != len(list)+1 || !warmth.RanWell(&statuses[len(list)]):
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(warmth.WaitContainer, "PodInitializing", "")}
			case stuck >= 0:
				message := fmt.Sprintf("Failed to pull image %q: %s", held[stuck].Image, fails(n.Name, held[stuck].Image))
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(warmth.WaitContainer, "ErrImagePull", message)}
			default:
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: warmth.WaitContainer, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			}
			s.Pods = append(s.Pods, pod)
		}
	}
}

// images of the list of a class, in order.
func (s *State) listOf(class string) []string {
	var images []string
	for _, c := range ListOf(s.DaemonSet(v1alpha1.Name + "-" + class)) {
		images = append(images, c.Image)
	}
	return images
}

func (s *State) status(name string) v1alpha1.PrepullImageStatus {
	for i := range s.Images {
		if s.Images[i].Name == name {
			return s.Images[i].Status
		}
	}
	return v1alpha1.PrepullImageStatus{}
}
