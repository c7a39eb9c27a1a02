package learn

import (
	"cmp"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// countedPods bounds how many pods are remembered as counted, in each of two generations.
	countedPods = 8192
)

// observation is what a stored object tells the learner.
type observation struct {
	uid     types.UID
	created time.Time
	images  []string
	user    v1alpha1.User
	workload.Requirements

	// pod is set for a pod: what it pulls, the labels that tell its revision, and its controller.
	pod    bool
	pulls  workload.Pulls
	labels map[string]string
	owner  *metav1.OwnerReference
}

// startCounter counts in memory the pods that started with each image since the last flush. The zero value is ready.
type startCounter struct {
	mu       sync.Mutex
	deltas   map[string]int
	counted  map[types.UID]bool
	previous map[types.UID]bool
}

// count adds the starts of the newest pods that were not counted before, admissions at most, and returns how many it
// counted. The bound keeps two replicas from counting one pod twice: every admission reaches one replica only.
func (c *startCounter) count(pods []observation, admissions int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := slices.DeleteFunc(slices.Clone(pods), func(p observation) bool { return c.counted[p.uid] || c.previous[p.uid] })
	slices.SortFunc(fresh, func(a, b observation) int {
		return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.uid, b.uid))
	})
	fresh = fresh[:min(len(fresh), admissions)]
	for _, p := range fresh {
		c.remember(p.uid)
		c.addLocked(p.images, 1)
	}
	return len(fresh)
}

// remember marks a pod as counted, and forgets the oldest generation when the current one is full.
func (c *startCounter) remember(uid types.UID) {
	if len(c.counted) >= countedPods || c.counted == nil {
		c.previous, c.counted = c.counted, map[types.UID]bool{}
	}
	c.counted[uid] = true
}

func (c *startCounter) addLocked(images []string, n int) {
	if c.deltas == nil {
		c.deltas = map[string]int{}
	}
	for _, image := range images {
		c.deltas[image] += n
	}
}

// putBack returns starts that could not be written.
func (c *startCounter) putBack(image string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked([]string{image}, n)
}

// take returns the starts since the last take.
func (c *startCounter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	deltas := c.deltas
	c.deltas = nil
	return deltas
}
