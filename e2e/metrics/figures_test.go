package metrics

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestTheMetricsTellWhatHappened lets known things happen on two real nodes and compares them with what the managers
// serve, with the documentation, and with what a Prometheus makes of the dashboard and the alerts.
func TestTheMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	p := product{lab.Own(t, "node-1", "node-2")}
	p.Namespace(t, "shop", true)
	p.Namespace(t, "elsewhere", false)
	prometheus := startPrometheus(t, p)

	p.Registry.SetBandwidth(40 << 20)
	app := p.Push(t, "shop/app:v1", images.Image{Size: 24 << 20, Seed: 171})
	p.start(t, "shop", "first", "node-1", app)
	p.WaitOnNodes(t, app, "node-1", "node-2")
	p.WaitState(t, app, "Ready")
	p.started(t, "a miss", 0, 1)
	if waited, told := p.sum(t, "kube_prepull_workload_pull_seconds_sum"), waitedIn(t, p.PulledEvent(t, "shop", "first")); !near(waited, told, .01) {
		t.Errorf("containers waited for %v s, the kubelet says %v", waited, told)
	}
	if saved := p.sum(t, "kube_prepull_saved_seconds_total"); saved != 0 {
		t.Errorf("%v s are saved before anything started", saved)
	}

	p.start(t, "elsewhere", "not-ours", "node-1", app)
	p.start(t, "shop", "second", "node-2", app)
	p.start(t, "shop", "third", "node-2", app)
	p.started(t, "two hits", 2, 1)
	took := p.pulledBy(t, app, "node-2")
	if saved := p.sum(t, "kube_prepull_saved_seconds_total"); !near(saved, took, .01) || took < 2 {
		t.Errorf("%v s are saved by a pull of %v s", saved, took)
	}
	t.Logf("the pull of a prepull pod took %.3f s", took)

	p.Deploy(t, "shop", lab.Deployment("broken", p.Registry.Addr()+"/shop/broken:v1", 1))
	p.WaitState(t, p.Registry.Addr()+"/shop/broken:v1", "PullFailed")
	p.eventsAbout(t, "default", "PrepullImage", "PullFailed", "not found")
	p.eventsAbout(t, "shop", "Deployment", "ImageNotPrepulled", "not found")
	p.answers(t, app, p.Registry.Addr()+"/shop/broken:v1", took)
	p.pinOne(t)

	p.checkFigures(t, took)
	if diff := cmp.Diff(documentedMetrics(t), p.servedMetrics(t)); diff != "" {
		t.Errorf("metrics (-documented +served):\n%s", diff)
	}
	lintMetrics(t, p.Metrics(t, p.Managers(t)[0]))
	prometheus.checkQueries(t)

	p.newLeader(t, app)
}

// checkFigures compares with what has happened until then; a pull of the image took some seconds.
func (p product) checkFigures(t *testing.T, took float64) {
	t.Helper()
	for series, want := range map[string]func(float64) bool{
		`kube_prepull_images{state="ready"}`:                        atLeast(2),
		`kube_prepull_images{state="pullfailed"}`:                   exactly(1),
		`kube_prepull_nodes{`:                                       exactly(2),
		`kube_prepull_quarantines_total`:                            exactly(1),
		`kube_prepull_daemonset_revisions_total`:                    atLeast(2),
		`kube_prepull_hints_total{result="learned"}`:                atLeast(2),
		`kube_prepull_hints_total{result="dropped"}`:                exactly(0),
		`kube_prepull_admissions_total{outcome="hinted"}`:           atLeast(4),
		`kube_prepull_admissions_total{outcome="error"}`:            exactly(0),
		`kube_prepull_admission_seconds_count{outcome="hinted"}`:    atLeast(4),
		`kube_prepull_admission_seconds_sum{outcome="hinted"}`:      func(v float64) bool { return v > 0 && v < 1 },
		`kube_prepull_pull_seconds_count{node_class="linux-amd64"}`: atLeast(2),
		`kube_prepull_pull_seconds_sum{`:                            atLeast(math.Floor(took)),
		`kube_prepull_pull_bytes_sum{node_class="linux-amd64"}`:     atLeast(24 << 20),
		`kube_prepull_time_to_warm_seconds_count`:                   atLeast(2),
		`kube_prepull_time_to_warm_seconds_sum`:                     atLeast(math.Floor(took)),
		`kube_prepull_digest_lookups_total{result="resolved"}`:      atLeast(1),
		`kube_prepull_pins_total{result="pinned"}`:                  atLeast(1),
	} {
		lab.Eventually(t, series, func() error {
			if got := p.sum(t, series); !want(got) {
				return fmt.Errorf("it is %v", got)
			}
			return nil
		})
	}
}

// sum is that of the series of all managers whose text begins with some words.
func (p product) sum(t *testing.T, series string) float64 {
	t.Helper()
	sum := 0.0
	for _, manager := range p.Managers(t) {
		for line := range strings.Lines(p.Metrics(t, manager)) {
			if !strings.HasPrefix(line, series) {
				continue
			}
			value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]), 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}

// newLeader shows what a new leader knows: a pull that nobody used yet, but not what was counted already.
func (p product) newLeader(t *testing.T, used string) {
	t.Helper()
	unused := p.Push(t, "shop/unused:v1", images.Image{Size: 8 << 20, Seed: 172})
	p.Deploy(t, "shop", lab.Deployment("unused", unused, 0))
	p.WaitState(t, unused, "Ready")
	p.restartManagers(t)
	p.started(t, "no starts after a restart", 0, 0)
	// Until the new leader has read what was stored, a start is one of the time before it.
	lab.Eventually(t, "a start to be counted", func() error {
		p.start(t, "shop", fmt.Sprintf("probe-%d", time.Now().UnixMilli()), "node-1", used)
		if p.sum(t, `kube_prepull_container_starts_total{result="hit"}`) == 0 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	if saved := p.sum(t, "kube_prepull_saved_seconds_total"); saved > .5 {
		t.Errorf("what was counted is counted again: %v s", saved)
	}
	p.start(t, "shop", "late", "node-2", unused)
	took := p.pulledBy(t, unused, "node-2")
	lab.Eventually(t, "a pull of the time before to save time", func() error {
		if saved := p.sum(t, "kube_prepull_saved_seconds_total"); saved < took {
			return fmt.Errorf("%v s are saved, the pull took %v", saved, took)
		}
		return nil
	})
	if warm := p.sum(t, "kube_prepull_time_to_warm_seconds_count"); warm != 0 {
		t.Errorf("%v images got warm a second time", warm)
	}
}

func (p product) restartManagers(t *testing.T) {
	t.Helper()
	p.ScaleManagers(t, 0)
	p.ScaleManagers(t, 1)
	lab.Eventually(t, "the new manager to lead", func() error {
		if p.sum(t, "kube_prepull_nodes{") == 0 {
			return fmt.Errorf("it knows no nodes")
		}
		return nil
	})
}

// start starts a pod on a node, and returns when it runs.
func (p product) start(t *testing.T, namespace, name, node, image string) {
	t.Helper()
	pod := lab.PodOn(node, name, image)
	pod.Namespace = namespace
	lab.StartPod(t, p.Cluster, pod)
	lab.Eventually(t, name+" to run", func() error {
		pod, err := p.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && !lab.PodRunning(pod) {
			err = fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return err
	})
}

// started waits until as many container starts are counted.
func (p product) started(t *testing.T, what string, hits, misses float64) {
	t.Helper()
	lab.Eventually(t, what, func() error {
		hit, miss := p.sum(t, `kube_prepull_container_starts_total{result="hit"}`), p.sum(t, `kube_prepull_container_starts_total{result="miss"}`)
		if hit != hits || miss != misses {
			return fmt.Errorf("%v hits and %v misses are counted", hit, miss)
		}
		return nil
	})
}

// pulledBy is how many seconds the pull of a prepull pod took on a node, as its kubelet says.
func (p product) pulledBy(t *testing.T, image, node string) float64 {
	t.Helper()
	events, err := p.Client().CoreV1().Events(lab.System).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=Pulled"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		words := pullWords.FindStringSubmatch(e.Message)
		if words != nil && e.Source.Host == node && strings.Contains(e.Message, `"`+image+`"`) {
			return seconds(t, words[1])
		}
	}
	t.Fatalf("no prepull pod pulled %s on %s", image, node)
	return 0
}

var pullWords = regexp.MustCompile(`^Successfully pulled image .* in (\S+) \((\S+) including waiting\)`)

func waitedIn(t *testing.T, message string) float64 {
	t.Helper()
	words := pullWords.FindStringSubmatch(message)
	if words == nil {
		t.Fatalf("nothing was pulled: %s", message)
	}
	return seconds(t, words[2])
}

func seconds(t *testing.T, duration string) float64 {
	t.Helper()
	d, err := time.ParseDuration(duration)
	if err != nil {
		t.Fatal(err)
	}
	return d.Seconds()
}

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance*b }

func atLeast(least float64) func(float64) bool { return func(v float64) bool { return v >= least } }
func exactly(value float64) func(float64) bool { return func(v float64) bool { return v == value } }

// eventsAbout waits for the one Event with a reason about objects of a kind.
func (p product) eventsAbout(t *testing.T, namespace, kind, reason, words string) {
	t.Helper()
	lab.Eventually(t, "the Event "+reason, func() error {
		events, err := p.Client().CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=" + kind + ",reason=" + reason})
		if err != nil {
			return err
		}
		if len(events.Items) != 1 || events.Items[0].Count != 1 || !strings.Contains(events.Items[0].Message, words) {
			return fmt.Errorf("there are %d: %+v", len(events.Items), events.Items)
		}
		return nil
	})
}

// pinOne has a tag pinned, in a namespace of its own.
func (p product) pinOne(t *testing.T) {
	t.Helper()
	p.Namespace(t, "pinning", true)
	patch := []byte(`{"metadata":{"labels":{"kube-prepull.io/rewrite":"tags"}}}`)
	if _, err := p.Client().CoreV1().Namespaces().Patch(t.Context(), "pinning", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	tagged := p.Push(t, "pinning/tagged:v1", images.Image{Seed: 173})
	name := 0
	lab.Eventually(t, "a tag to be pinned", func() error {
		name++
		d, err := p.Client().AppsV1().Deployments("pinning").Create(t.Context(), lab.Deployment(fmt.Sprintf("tagged-%d", name), tagged, 0), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if !pinned(d) {
			return fmt.Errorf("it is not")
		}
		return nil
	})
}

func pinned(d *appsv1.Deployment) bool {
	for key := range d.Spec.Template.Annotations {
		if strings.HasPrefix(key, "pin.kube-prepull.io/") {
			return true
		}
	}
	return false
}

// documentedMetrics are the names and types of docs/reference.
func documentedMetrics(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(lab.Source("docs/reference/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		names = append(names, row[1]+" "+row[2])
	}
	return names
}

// servedMetrics are the names and types of what all managers serve together.
func (p product) servedMetrics(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, manager := range p.Managers(t) {
		for _, line := range regexp.MustCompile(`(?m)^# TYPE (kube_prepull_\w+ \w+)$`).FindAllStringSubmatch(p.Metrics(t, manager), -1) {
			names = append(names, line[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
