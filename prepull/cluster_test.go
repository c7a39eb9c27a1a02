package prepull

import (
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

var testOptions = PlanOptions{
	Namespace:          "kube-prepull",
	NoopImage:          "registry.test/noop:v1",
	MaxImagesPerNode:   50,
	MaxNodeClasses:     30,
	MaxConcurrentNodes: intstr.FromInt32(10),
	PullDeadline:       15 * time.Minute,
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
