package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

var prepullImages = schema.GroupVersionResource{Group: "kube-prepull.io", Version: "v1alpha1", Resource: "prepullimages"}

// prepullPods selects the prepull pods, and their DaemonSets.
const prepullPods = "app.kubernetes.io/component=prepull"

// sightings are when each image was first seen: learned, and on each node.
type sightings struct {
	story *story
	stop  context.CancelFunc

	mu      sync.Mutex
	learned map[string]time.Time
	onNode  map[string]map[string]time.Time
	failed  map[string]string
	err     error
}

// watch looks at the PrepullImages and the prepull pods several times a second until it is stopped.
func (s *story) watch(ctx context.Context) *sightings {
	ctx, cancel := context.WithCancel(ctx)
	seen := &sightings{story: s, stop: cancel, learned: map[string]time.Time{}, onNode: map[string]map[string]time.Time{}, failed: map[string]string{}}
	client, err := dynamic.NewForConfig(s.lab.Config())
	if err != nil {
		seen.err = err
		return seen
	}
	go func() {
		for ctx.Err() == nil {
			seen.look(ctx, client)
			time.Sleep(200 * time.Millisecond)
		}
	}()
	return seen
}

func (seen *sightings) look(ctx context.Context, client dynamic.Interface) {
	list, err := client.Resource(prepullImages).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	pods, err := seen.story.lab.Client().CoreV1().Pods("kube-prepull").List(ctx, metav1.ListOptions{LabelSelector: prepullPods})
	if err != nil {
		return
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, item := range list.Items {
		image, _, _ := unstructured.NestedString(item.Object, "spec", "image")
		seen.learn(image)
		state, _, _ := unstructured.NestedString(item.Object, "status", "state")
		if strings.HasPrefix(state, "PullFailed") && seen.failed[image] == "" {
			seen.failed[image] = state
			seen.story.say("cannot be pulled, and is set aside: %s (%s)", seen.short(image), state)
		}
	}
	for i := range pods.Items {
		seen.lookAt(&pods.Items[i])
	}
}

func (seen *sightings) learn(image string) {
	if _, ok := seen.learned[image]; !ok {
		seen.learned[image] = time.Now()
		seen.story.say("learned: %s", seen.short(image))
	}
}

func (seen *sightings) lookAt(pod *corev1.Pod) {
	for name, image := range lab.ImagesOf(&pod.Spec) {
		if !isThere(pod, name) {
			continue
		}
		if _, ok := seen.learned[image]; !ok {
			continue
		}
		if seen.onNode[image] == nil {
			seen.onNode[image] = map[string]time.Time{}
		}
		if _, ok := seen.onNode[image][pod.Spec.NodeName]; !ok {
			seen.onNode[image][pod.Spec.NodeName] = time.Now()
			seen.story.say("on %s: %s", pod.Spec.NodeName, seen.short(image))
		}
	}
}

// isThere tells whether a prepull pod has run an image that it brings, or has mounted one that it holds.
func isThere(pod *corev1.Pod, name string) bool {
	ran := func(s corev1.ContainerStatus) bool {
		return s.Name == name && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
	}
	if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name }) {
		return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running != nil })
	}
	return slices.ContainsFunc(pod.Status.InitContainerStatuses, ran)
}

func (seen *sightings) short(image string) string {
	return strings.TrimPrefix(image, seen.story.lab.Registry+"/")
}

// wait returns when every image that exists is on all of these nodes.
func (seen *sightings) wait(ctx context.Context, nodes ...string) error {
	return poll(ctx, 5*time.Minute, fmt.Sprintf("the images to be on %v", nodes), func() (bool, error) {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		for _, w := range wares {
			for _, node := range nodes {
				if w.size >= 0 && seen.onNode[seen.story.image(w.name)][node].IsZero() {
					return false, seen.err
				}
			}
		}
		return true, seen.err
	})
}

// table prints for each image when it was learned and when it was on each node, and a pod's start with and without it.
func (s *story) table(seen *sightings, cold, warm map[string]time.Duration) {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	fmt.Fprintln(s.out, "\nSeconds since the demo began, and the seconds that the same pod took to be Ready:")
	fmt.Fprintln(s.out)
	w := tabwriter.NewWriter(s.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tSIZE\tLEARNED\tON NODE-1\tON NODE-2\tON NODE-3 (NEW)\tPOD COLD\tPOD WARM")
	for _, ware := range wares {
		image := s.image(ware.name)
		size, coldStart, warmStart := fmt.Sprintf("%d MB", ware.size>>20), seconds(cold[ware.name]), seconds(warm[ware.name])
		if ware.size < 0 {
			size, coldStart, warmStart = "does not exist", "-", "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s", seen.short(image), size, s.since(seen.learned[image]))
		for _, node := range nodes {
			fmt.Fprintf(w, "\t%s", s.since(seen.onNode[image][node]))
		}
		fmt.Fprintf(w, "\t%s\t%s\n", coldStart, warmStart)
	}
	w.Flush()
}

func (s *story) since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%.1f s", t.Sub(s.start).Seconds())
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// printImages shows what kubectl shows.
func (s *story) printImages(ctx context.Context) error {
	output, err := s.lab.Kubectl(ctx, "get", "ppi")
	fmt.Fprintf(s.out, "\n$ kubectl get ppi\n%s", output)
	return err
}
