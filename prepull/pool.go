package prepull

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// maxPooled is how many strings a pool knows at most. It starts anew when it is full.
	maxPooled = 20_000

	// maxPooledLists is how many of each other thing one knows at most.
	maxPooledLists = 500
)

// pool makes equal parts of many objects one: what is on one node is on most, and was decoded for each anew. What it returns may
// not be changed.
type pool struct {
	mu sync.Mutex

	strings map[string]string

	// held are the image volumes of prepull pods, by the label of their list.
	held map[string][]corev1.Volume

	labels     map[string]map[string]string
	names      map[string][]string
	images     map[uint64][]corev1.ContainerImage
	resources  map[string]corev1.ResourceList
	waiting    map[corev1.ContainerStateWaiting]*corev1.ContainerStateWaiting
	terminated map[corev1.ContainerStateTerminated]*corev1.ContainerStateTerminated
	statuses   map[uint64][]corev1.ContainerStatus
}

// known is what a pool has for a key, or what it is given, from now on.
func known[K comparable, V any](m *map[K]V, limit int, key K, value V) V {
	if there, found := (*m)[key]; found {
		return there
	}
	if *m == nil || len(*m) >= limit {
		*m = map[K]V{}
	}
	(*m)[key] = value
	return value
}

func (p *pool) one(s string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return known(&p.strings, maxPooled, s, s)
}

// labelsOf are the labels of a prepull pod: those of its list differ in nothing.
func (p *pool) labelsOf(labels map[string]string) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if same := known(&p.labels, maxPooledLists, labels[v1alpha1.LabelList], labels); maps.Equal(same, labels) {
		return same
	}
	p.labels[labels[v1alpha1.LabelList]] = labels
	return labels
}

// namesOf are the names of an image. Each of its nodes lists them.
func (p *pool) namesOf(names []string) []string {
	for i, name := range names {
		names[i] = p.one(name)
	}
	if len(names) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if same := known(&p.names, maxPooled, names[0], names); slices.Equal(same, names) {
		return same
	}
	p.names[names[0]] = names
	return names
}

// imagesOf are the images that a node lists, largest first: nodes that have the same ones list the same.
func (p *pool) imagesOf(images []corev1.ContainerImage) []corev1.ContainerImage {
	images = slices.Clone(images) // it may be one of the pool, and decoding leaves room at the end
	var hash maphash.Hash
	hash.SetSeed(poolSeed)
	for i := range images {
		images[i].Names = p.namesOf(images[i].Names)
		for _, name := range images[i].Names {
			hash.WriteString(name)
		}
		maphash.WriteComparable(&hash, images[i].SizeBytes)
	}
	if len(images) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	same := known(&p.images, maxPooledLists, hash.Sum64(), images)
	if slices.EqualFunc(same, images, func(a, b corev1.ContainerImage) bool {
		return a.SizeBytes == b.SizeBytes && slices.Equal(a.Names, b.Names)
	}) {
		return same
	}
	return images
}

// resourcesOf is what a node offers: the same as others of its type.
func (p *pool) resourcesOf(list corev1.ResourceList) corev1.ResourceList {
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(list)) {
		quantity := list[name]
		key.WriteString(string(name) + "=" + quantity.String() + " ")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return known(&p.resources, maxPooledLists, key.String(), list)
}

// statusesOf are the statuses of the containers of a prepull pod: many pods are equally far.
func (p *pool) statusesOf(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	if len(statuses) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var hash maphash.Hash
	hash.SetSeed(poolSeed)
	for i := range statuses {
		s := &statuses[i]
		for _, state := range []*corev1.ContainerState{&s.State, &s.LastTerminationState} {
			if state.Waiting != nil {
				state.Waiting = known(&p.waiting, maxPooled, *state.Waiting, state.Waiting)
			}
			if state.Terminated != nil {
				state.Terminated = known(&p.terminated, maxPooled, *state.Terminated, state.Terminated)
			}
		}
		maphash.WriteComparable(&hash, essence(s))
	}
	same := known(&p.statuses, maxPooledLists, hash.Sum64(), statuses)
	if slices.EqualFunc(same, statuses, func(a, b corev1.ContainerStatus) bool { return essence(&a) == essence(&b) }) {
		return same
	}
	return statuses
}

var poolSeed = maphash.MakeSeed()

// statusEssence is what the cache keeps of the status of a container. Its states are compared as the pool has them.
type statusEssence struct {
	name, image string
	state, last corev1.ContainerState
}

func essence(s *corev1.ContainerStatus) statusEssence {
	return statusEssence{s.Name, s.Image, s.State, s.LastTerminationState}
}
