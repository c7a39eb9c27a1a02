package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

const system = "kube-prepull"

// oneAfterTheOther creates a Deployment now and then, and measures from there to the DaemonSet that lists its image.
func (b *bench) oneAfterTheOther(ctx context.Context) error {
	if err := b.namespace(ctx, "single"); err != nil {
		return err
	}
	seen, err := b.watchLists(ctx)
	if err != nil {
		return err
	}
	defer seen.stop()
	var took []time.Duration
	for i := range 15 {
		image := fmt.Sprintf("bench.invalid/single:v%d", i)
		start := time.Now()
		if err := b.deploy(ctx, "single", fmt.Sprintf("single-%d", i), image); err != nil {
			return err
		}
		at, err := seen.wait(ctx, image)
		if err != nil {
			return err
		}
		took = append(took, at.Sub(start))
		// Out of step with the debounce.
		time.Sleep(8*time.Second + rand.N(2*time.Second))
	}
	b.add("new image: admission to DaemonSet, p50", quantile(took, 0.5).Seconds(), "s", "< 3")
	b.add("new image: admission to DaemonSet, worst of 15", quantile(took, 1).Seconds(), "s", "< 10 (p99)")
	return nil
}

// burst creates all Deployments at once and waits until nothing is written any more.
func (b *bench) burst(ctx context.Context) error {
	if err := b.namespace(ctx, "burst"); err != nil {
		return err
	}
	seen, err := b.watchLists(ctx)
	if err != nil {
		return err
	}
	defer seen.stop()
	revisions, writes := seen.revisions(), b.writes()
	created := make([]time.Time, b.deployments)
	start := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(20)
	for i := range b.deployments {
		group.Go(func() error {
			created[i] = time.Now()
			return b.deploy(groupCtx, "burst", fmt.Sprintf("burst-%d", i), burstImage(i))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.add(fmt.Sprintf("burst: creating %d Deployments", b.deployments), time.Since(start).Seconds(), "s", "")
	settled, err := b.settle(ctx, seen)
	if err != nil {
		return err
	}
	var took []time.Duration
	for i := range b.deployments {
		if at, ok := seen.at(burstImage(i)); ok {
			took = append(took, at.Sub(created[i]))
		}
	}
	if len(took) == 0 {
		return fmt.Errorf("no image of the burst came into a DaemonSet")
	}
	b.add("burst: images learned", float64(b.countImages(ctx)), "images", "")
	b.add("burst: admission to DaemonSet, p50", quantile(took, 0.5).Seconds(), "s", "< 3")
	b.add("burst: admission to DaemonSet, p99", quantile(took, 0.99).Seconds(), "s", "< 10")
	b.add("burst: time to settle", settled.Sub(start).Seconds(), "s", "")
	b.add("burst: DaemonSet revisions", float64(seen.revisions()-revisions), "revisions", "<= 15")
	b.add("burst: API writes", float64(b.writes()-writes), "writes", "")
	return nil
}

func burstImage(i int) string { return fmt.Sprintf("bench.invalid/burst-%d:v1", i) }

// settle returns when the last write was, once there has been none for 30 seconds.
func (b *bench) settle(ctx context.Context, seen *lists) (time.Time, error) {
	count, last := -1, time.Now()
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		if now := b.writes() + seen.revisions(); now != count {
			count, last = now, time.Now()
		}
		if time.Since(last) > 30*time.Second {
			return last, nil
		}
	}
	return last, fmt.Errorf("the manager still writes after 10 minutes")
}

// steady counts writes while nothing happens; a resync falls into it three times.
func (b *bench) steady(ctx context.Context) error {
	before := b.writes()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
	}
	b.add("steady state: API writes (leases apart), 3 resyncs included", float64(b.writes()-before), "writes/min", "0")
	return nil
}

// memoryOfFew is that with the nodes of a cluster of ordinary size.
func (b *bench) memoryOfFew(ctx context.Context) error { return b.memory(ctx, "< 100") }

// memory adds what the manager uses.
func (b *bench) memory(ctx context.Context, target string) error {
	resident, err := b.resident(ctx)
	if err != nil {
		return err
	}
	nodes, err := b.Client().CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("manager memory (resident), %d images, %d nodes", b.countImages(ctx), len(nodes.Items)), resident, "MiB", target)
	return nil
}

// resident asks the manager for its memory, in MiB.
func (b *bench) resident(ctx context.Context) (float64, error) {
	if b.scrapeToken == "" {
		token, err := lab.ScrapeToken(ctx, b.Cluster)
		if err != nil {
			return 0, fmt.Errorf("making a token for metrics: %w", err)
		}
		b.scrapeToken = token
	}
	resident, err := lab.Metric(ctx, b.Cluster, metricsAddress, b.scrapeToken, "process_resident_memory_bytes ")
	if err != nil {
		return 0, fmt.Errorf("reading the manager's metrics: %w", err)
	}
	return resident / (1 << 20), nil
}

// writes is how many requests of those that the audit log records changed something, leases apart.
func (b *bench) writes() int {
	f, err := os.Open(filepath.Join(b.Dir(), "logs", "audit.log"))
	if err != nil {
		return 0
	}
	defer f.Close()
	count := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			ObjectRef struct{ Resource string }
		}
		// Questions about permissions and tokens are asked with POST, and change nothing.
		if json.Unmarshal(lines.Bytes(), &event) == nil && event.ObjectRef.Resource != "leases" && !strings.HasSuffix(event.ObjectRef.Resource, "reviews") {
			count++
		}
	}
	return count
}

func (b *bench) namespace(ctx context.Context, name string) error {
	_, err := b.Client().CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kube-prepull.io/enabled": "true"}},
	}, metav1.CreateOptions{})
	return err
}

func (b *bench) deploy(ctx context.Context, namespace, name, image string) error {
	_, err := b.Client().AppsV1().Deployments(namespace).Create(ctx, benchDeployment(name, image), metav1.CreateOptions{})
	return err
}

func (b *bench) countImages(ctx context.Context) int {
	known, _ := b.prepullImages(ctx)
	return len(known)
}

// prepullImages are the images that are known.
func (b *bench) prepullImages(ctx context.Context) ([]unstructured.Unstructured, error) {
	client, err := dynamic.NewForConfig(b.Config())
	if err != nil {
		return nil, err
	}
	resource := schema.GroupVersionResource{Group: "kube-prepull.io", Version: "v1alpha1", Resource: "prepullimages"}
	list, err := client.Resource(resource).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// lists follows the DaemonSets: when an image was first in one, and how often one was rewritten.
type lists struct {
	stop context.CancelFunc

	mu          sync.Mutex
	first       map[string]time.Time
	in          map[string]map[string]bool // image and DaemonSet
	generations map[string]int64
	rewritten   int
}

func (b *bench) watchLists(ctx context.Context) (*lists, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &lists{stop: cancel, first: map[string]time.Time{}, in: map[string]map[string]bool{}, generations: map[string]int64{}}
	w, err := b.Client().AppsV1().DaemonSets(system).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		for event := range w.ResultChan() {
			if ds, ok := event.Object.(*appsv1.DaemonSet); ok {
				l.see(ds)
			}
		}
	}()
	return l, nil
}

func (l *lists) see(ds *appsv1.DaemonSet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.generations[ds.Name] != ds.Generation {
		l.generations[ds.Name] = ds.Generation
		l.rewritten++
	}
	for _, image := range lab.ImagesOf(&ds.Spec.Template.Spec) {
		if _, ok := l.first[image]; !ok {
			l.first[image] = time.Now()
			l.in[image] = map[string]bool{}
		}
		l.in[image][ds.Name] = true
	}
}

func (l *lists) revisions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rewritten
}

func (l *lists) at(image string) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.first[image]
	return at, ok
}

func (l *lists) wait(ctx context.Context, image string) (time.Time, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if at, ok := l.at(image); ok {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("after a minute no DaemonSet lists %s", image)
}

// waitAll returns when so many DaemonSets list an image.
func (l *lists) waitAll(ctx context.Context, image string, count int) (time.Time, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		have := len(l.in[image])
		l.mu.Unlock()
		if have >= count {
			return time.Now(), nil
		}
	}
	return time.Time{}, fmt.Errorf("after a minute fewer than %d DaemonSets list %s", count, image)
}

func quantile(values []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
