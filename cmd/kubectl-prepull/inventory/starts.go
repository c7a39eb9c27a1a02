package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/pulled"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Start is a container of a workload whose image was there or came.
type Start struct {
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	Container string    `json:"container"`
	Image     string    `json:"image"`
	Node      string    `json:"node"`

	// Hit is true if the image was on the node already; if not, WaitedSeconds is how long the container waited for it.
	Hit           bool    `json:"hit"`
	WaitedSeconds float64 `json:"waitedSeconds"`

	// SavedSeconds is what the pull of the prepull pod took that this start found the image of; 0 if an earlier start did.
	SavedSeconds float64 `json:"savedSeconds"`
}

// Starts sums up the starts of a time.
type Starts struct {
	// Count of starts, and how many of them found their image.
	Count int `json:"count"`
	Hits  int `json:"hits"`

	// HitRate is Hits out of Count, from 0 to 1; nil while there is none.
	HitRate *float64 `json:"hitRate,omitempty"`

	// SavedSeconds is what pre-pulling saved, WaitedSeconds what the others waited for their images.
	SavedSeconds  float64 `json:"savedSeconds"`
	WaitedSeconds float64 `json:"waitedSeconds"`
}

// Sum of starts since a time.
func Sum(starts []Start, since time.Time) Starts {
	var sum Starts
	for i := range starts {
		s := &starts[i]
		if s.Time.Before(since) {
			continue
		}
		sum.Count++
		if s.Hit {
			sum.Hits++
		}
		sum.SavedSeconds += s.SavedSeconds
		sum.WaitedSeconds += s.WaitedSeconds
	}
	if sum.Count > 0 {
		rate := float64(sum.Hits) / float64(sum.Count)
		sum.HitRate = &rate
	}
	return sum
}

// ReadStarts reads the starts of the last hour, which is how long events are kept, in the order in which they happened:
// those of all namespaces but kube-prepull's own.
func ReadStarts(ctx context.Context, c client.Reader, home string) ([]Start, error) {
	var events []event
	err := Pages(ctx, c, func() *corev1.EventList { return &corev1.EventList{} }, func(page *corev1.EventList) {
		for i := range page.Items {
			if e, ok := eventOf(&page.Items[i]); ok {
				events = append(events, e)
			}
		}
	}, client.MatchingFieldsSelector{Selector: pulled.Selector})
	if err != nil {
		return nil, fmt.Errorf("listing events of pulled images: %w", err)
	}
	return startsOf(events, home), nil
}

// event is a start with the container that an event is about.
type event struct {
	pulled.Start
	pod, container string
}

func eventOf(e *corev1.Event) (event, bool) {
	s, ok := pulled.StartOf(e)
	_, container, _ := strings.Cut(e.InvolvedObject.FieldPath, "{")
	return event{s, e.InvolvedObject.Name, strings.TrimSuffix(container, "}")}, ok
}

// startsOf enters everything into a ledger and returns what workloads started. A resource version is one event's alone.
func startsOf(events []event, home string) []Start {
	sorted := make([]pulled.Start, 0, len(events))
	about := make(map[string]event, len(events))
	for _, e := range events {
		sorted = append(sorted, e.Start)
		about[e.Version] = e
	}
	pulled.Sort(sorted)
	var ledger pulled.Ledger
	var starts []Start
	for _, s := range sorted {
		ours := s.Namespace == home
		saved := ledger.Enter(s, ours)
		if ours {
			continue
		}
		e := about[s.Version]
		starts = append(starts, Start{
			Time: s.Time, Namespace: s.Namespace, Pod: e.pod, Container: e.container, Image: s.Name, Node: s.Node,
			Hit: s.Present, WaitedSeconds: s.Waited.Seconds(), SavedSeconds: saved.Seconds(),
		})
	}
	return starts
}

// ReadOptedIn returns the namespaces that are opted in.
func ReadOptedIn(ctx context.Context, c client.Reader, home string) (map[string]bool, error) {
	found := map[string]bool{}
	err := Pages(ctx, c, func() *corev1.NamespaceList { return &corev1.NamespaceList{} }, func(page *corev1.NamespaceList) {
		for i := range page.Items {
			if n := &page.Items[i]; workload.OptedIn(n, home) {
				found[n.Name] = true
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	return found, nil
}

// ReadPodsWith returns the pods with a container whose image contains a text.
func ReadPodsWith(ctx context.Context, c client.Reader, part string) ([]types.NamespacedName, error) {
	var found []types.NamespacedName
	err := Pages(ctx, c, func() *corev1.PodList { return &corev1.PodList{} }, func(page *corev1.PodList) {
		for i := range page.Items {
			pod := &page.Items[i]
			uses := func(c corev1.Container) bool { return strings.Contains(c.Image, part) }
			if slices.ContainsFunc(pod.Spec.InitContainers, uses) || slices.ContainsFunc(pod.Spec.Containers, uses) {
				found = append(found, client.ObjectKeyFromObject(pod))
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return found, nil
}
