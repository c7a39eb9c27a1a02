package measure

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// History is how the pods that are stored in a cluster started.
type History struct {
	Totals

	// NotStarted is how many pods have containers that have not started yet. They are in no other number.
	NotStarted int `json:"notStarted"`

	// Workloads, those first that waited longest for images.
	Workloads []Workload `json:"workloads"`
}

// Workload is how the pods of one workload started.
type Workload struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Totals

	// Pods, those first that waited longest for images.
	Pods []PodStart `json:"pods"`
}

// Totals are about some starts.
type Totals struct {
	Starts  int `json:"starts"`
	Hits    int `json:"hits"`
	Misses  int `json:"misses"`
	Unknown int `json:"unknown"`

	// PulledSeconds is what all of them waited for images, as far as that is known.
	PulledSeconds float64 `json:"pulledSeconds"`

	// MedianPulledSeconds is what the median miss waited; 0 without one.
	MedianPulledSeconds float64 `json:"medianPulledSeconds"`

	// MedianStartUpSeconds is the median start-up, of hits, misses and unknown ones; 0 if none is known.
	MedianStartUpSeconds float64 `json:"medianStartUpSeconds"`

	// PullShare is which part of the start-ups of hits and misses was waiting for images, from 0 to 1; none without them.
	PullShare *float64 `json:"pullShare,omitempty"`
}

// owner is the workload that a pod stands for.
type owner struct{ namespace, kind, name string }

// ownerOf a pod. parents has the controllers of ReplicaSets and Jobs.
func ownerOf(pod *corev1.Pod, parents map[types.UID]*metav1.OwnerReference) owner {
	controller := metav1.GetControllerOfNoCopy(pod)
	if controller == nil {
		return owner{pod.Namespace, "Pod", pod.Name}
	}
	if parent := parents[controller.UID]; parent != nil {
		controller = parent
	}
	return owner{pod.Namespace, controller.Kind, controller.Name}
}

// recall tells how pods started, from what is stored of them and of their kubelets' events.
func recall(r *records, now time.Time) *History {
	said := firstWords(r.events)
	h := &History{Workloads: []Workload{}}
	found := map[owner][]PodStart{}
	var all []PodStart
	for i := range r.pods {
		pod := &r.pods[i]
		if ours(pod) {
			continue
		}
		s, ok := startOf(pod, said[pod.UID], now)
		if !ok {
			h.NotStarted++
			continue
		}
		o := ownerOf(pod, r.parents)
		found[o] = append(found[o], s)
		all = append(all, s)
	}
	h.Totals = totals(all)
	for _, o := range slices.SortedFunc(maps.Keys(found), byName) {
		starts := found[o]
		slices.SortFunc(starts, func(a, b PodStart) int {
			return cmp.Or(cmp.Compare(b.PulledSeconds, a.PulledSeconds), cmp.Compare(a.Pod, b.Pod))
		})
		h.Workloads = append(h.Workloads, Workload{Namespace: o.namespace, Kind: o.kind, Name: o.name, Totals: totals(starts), Pods: starts})
	}
	slices.SortStableFunc(h.Workloads, func(a, b Workload) int { return cmp.Compare(b.PulledSeconds, a.PulledSeconds) })
	return h
}

func byName(a, b owner) int {
	return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name), strings.Compare(a.kind, b.kind))
}

// ours are the pods that pull for others, and those of experiments.
func ours(pod *corev1.Pod) bool {
	component := pod.Labels[v1alpha1.LabelComponent]
	return pod.Labels[v1alpha1.LabelName] == v1alpha1.Name && (component == v1alpha1.ComponentPrepull || component == componentMeasure)
}

func totals(starts []PodStart) Totals {
	t := Totals{Starts: len(starts)}
	var pulls, startUps []float64
	var pulled, started float64
	for _, s := range starts {
		switch s.Outcome {
		case Hit:
			t.Hits++
		case Miss:
			t.Misses++
			pulls = append(pulls, s.PulledSeconds)
		default:
			t.Unknown++
		}
		t.PulledSeconds += s.PulledSeconds
		if s.StartUpSeconds > 0 {
			startUps = append(startUps, s.StartUpSeconds)
		}
		if s.StartUpSeconds > 0 && s.Outcome != Unknown {
			pulled, started = pulled+s.PulledSeconds, started+s.StartUpSeconds
		}
	}
	t.PulledSeconds = thousandths(t.PulledSeconds)
	t.MedianPulledSeconds, t.MedianStartUpSeconds = thousandths(median(pulls)), thousandths(median(startUps))
	if started > 0 {
		share := thousandths(part(pulled, started))
		t.PullShare = &share
	}
	return t
}
