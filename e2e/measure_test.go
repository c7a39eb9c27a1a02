package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// measuring is the plugin at work on a product's cluster, with a slow registry of its own.
type measuring struct {
	*product
	slow    *registry.Registry
	program string
}

// The size of images, and what the registry makes of it: 3.4 s on the wire.
const measuredSize, measuredBandwidth = 20 << 20, 50_000_000

func newMeasuring(t *testing.T) *measuring {
	t.Helper()
	p := sharedProduct(t)
	m := &measuring{product: p, slow: newRegistry(t, p.Cluster, registry.Options{Bandwidth: measuredBandwidth}), program: filepath.Join(t.TempDir(), "kubectl-prepull")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", m.program, "./cmd/kubectl-prepull")
	build.Dir = lab.Source(".")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the plugin: %v: %s", err, output)
	}
	return m
}

func (m *measuring) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, m.program, append([]string{"measure"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+m.Kubeconfig())
	return cmd
}

// fails runs the plugin, which has to end with a code and a sentence.
func (m *measuring) fails(t *testing.T, code int, sentence string, args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := m.command(t.Context(), args...)
	cmd.Stderr = &stderr
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(stderr.String(), sentence) || strings.Contains(stderr.String(), "goroutine") {
		t.Errorf("measure %q ends with %d and %q, want %d and %q", args, got, stderr.String(), code, sentence)
	}
}

// asks runs the plugin and decodes what it prints.
func (m *measuring) asks(t *testing.T, into any, args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := m.command(t.Context(), append(args, "-o", "json")...)
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("measure %q: %v: %s", args, err, stderr.String())
	}
	if err := json.Unmarshal(output, into); err != nil {
		t.Fatalf("measure %q: %v: %s", args, err, output)
	}
}

type experiment struct {
	Node   string
	Starts []struct {
		Pod                           string
		Cold                          bool
		PulledSeconds, StartUpSeconds float64
	}
	ColdSeconds, WarmSeconds, Ratio float64
	Notes                           []string
}

// pullOf is how long the kubelet says that a pod waited for an image.
func (m *measuring) pullOf(t *testing.T, namespace, pod, image string) float64 {
	t.Helper()
	events, err := m.Client().CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod + ",reason=Pulled"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if !strings.Contains(e.Message, `"`+image+`"`) {
			continue
		}
		words := regexp.MustCompile(`\(([0-9a-z.]+) including waiting\)`).FindStringSubmatch(e.Message)
		if words == nil {
			return 0
		}
		waited, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		return waited.Seconds()
	}
	t.Errorf("no event of pod %s says anything of %s", pod, image)
	return 0
}

func (m *measuring) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := m.Client().CoreV1().Pods("").List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=measure"})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

// page reads a page that the plugin wrote: it asks for nothing from elsewhere, and shows what it is about.
func page(t *testing.T, file string, wants ...string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?i)https?://|src=|href=|url\(|<script`).Find(text); found != nil {
		t.Errorf("%s is not all in one: %s", file, found)
	}
	for _, want := range append(wants, "<svg", "</html>") {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s does not have %q", file, want)
		}
	}
}

// TestMeasureRun has an image that no node has, in a namespace that lets no privileged pod in.
func TestMeasureRun(t *testing.T) {
	t.Parallel()
	m := newMeasuring(t)
	m.namespace(t, "measure", true)
	enforce := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`
	if _, err := m.Client().CoreV1().Namespaces().Patch(t.Context(), "measure", "application/merge-patch+json", []byte(enforce), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	image := pushSleeper(t, m.slow, "measure/app:v1", images.Image{Size: measuredSize, Seed: 301})

	file := filepath.Join(t.TempDir(), "run.html")
	var cold experiment
	m.asks(t, &cold, "run", image, "-n", "measure", "--node", "node-2", "--html", file)
	t.Logf("cold %.2f s, warm %.2f s: %.1f times", cold.ColdSeconds, cold.WarmSeconds, cold.Ratio)
	if len(cold.Starts) != 4 || !cold.Starts[0].Cold || cold.Starts[1].Cold || cold.Node != "node-2" || cold.Ratio <= 1 {
		t.Fatalf("the experiment is %+v, want a cold start and three warm ones on node-2, and a ratio above 1", cold)
	}
	first := cold.Starts[0]
	if said := m.pullOf(t, "measure", first.Pod, image); first.PulledSeconds != said || said < 3 || first.StartUpSeconds < said {
		t.Errorf("pulled in %v s of %v s, and the kubelet says %v s, want at least the 3.4 s of the wire", first.PulledSeconds, first.StartUpSeconds, said)
	}
	if sent := m.slow.Counts("measure/app").BlobBytes; sent < measuredSize || sent > 2*measuredSize {
		t.Errorf("the registry sent %d bytes, want those of one pull", sent)
	}
	page(t, file, image+" on node node-2", "Cold against warm")

	// Another node lacks it still; then none does.
	var other, warm experiment
	m.asks(t, &other, "run", image, "-n", "measure")
	if other.Node != "node-1" || !other.Starts[0].Cold {
		t.Errorf("the second experiment is %+v, want a cold start on node-1", other)
	}
	m.asks(t, &warm, "run", image, "-n", "measure", "--node", "node-1")
	if len(warm.Starts) != 3 || warm.Starts[0].Cold || warm.Ratio != 0 || len(warm.Notes) != 1 || !strings.Contains(warm.Notes[0], "no cold start") {
		t.Errorf("the third experiment is %+v, want warm starts alone, and a note", warm)
	}
	if m.prepullImage(t, image) != nil {
		t.Error("the experiment taught kube-prepull its image")
	}
	if left := m.pods(t); len(left) > 0 {
		t.Errorf("%d pods are left, the first is %s", len(left), left[0].Name)
	}
	m.interrupt(t)
	m.badInput(t)
}

// interrupt stops an experiment in the middle of a pull.
func (m *measuring) interrupt(t *testing.T) {
	t.Helper()
	image := pushSleeper(t, m.slow, "measure/interrupted:v1", images.Image{Size: 2 * measuredSize, Seed: 302})
	var stderr bytes.Buffer
	cmd := m.command(t.Context(), "run", image, "-n", "measure", "--node", "node-1")
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the pull to begin", func() error {
		if m.slow.Counts("measure/interrupted").BlobGets == 0 {
			return errors.New("it has not")
		}
		return nil
	})
	if len(m.pods(t)) != 1 {
		t.Errorf("there are %d pods during the experiment, want one", len(m.pods(t)))
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("it ends with %d and %q, want 1 and that it was interrupted", code, stderr.String())
	}
	if left := m.pods(t); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name)
	}
}

func (m *measuring) badInput(t *testing.T) {
	t.Helper()
	missing := m.slow.Addr() + "/measure/missing:v1"
	m.fails(t, 1, "not the name of an image", "run", "app:v1; rm -rf /")
	m.fails(t, 1, "not the name of an image", "run", "$(reboot)")
	m.fails(t, 1, `"nowhere" not found`, "run", "app:v1", "--node", "nowhere")
	m.fails(t, 1, "cannot get resource", "run", "app:v1", "--node", "node-1", "--as", "nobody")
	m.fails(t, 1, "cannot list resource", "history", "-n", "measure", "--as", "nobody")
	m.fails(t, 1, "connection refused", "run", "app:v1", "--server", "https://127.0.0.1:1")
	m.fails(t, 1, "not found", "run", missing, "-n", "measure", "--node", "node-1")
	present := m.slow.Addr() + "/measure/app:v1"
	m.fails(t, 1, "longer than --timeout", "run", present, "-n", "measure", "--node", "node-1", "--timeout", "1s")
	m.fails(t, 2, "one image", "run")
	m.fails(t, 2, "--timeout", "run", "app:v1", "--timeout", "0s")
	m.fails(t, 2, "unknown flag", "history", "--nope")
	if left := m.pods(t); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name)
	}
}

// TestMeasureHistory has a Deployment whose image comes, and then one whose image is there, in a namespace that kube-prepull
// has nothing to do with.
func TestMeasureHistory(t *testing.T) {
	t.Parallel()
	m := newMeasuring(t)
	m.namespace(t, "remember", false)
	image := pushSleeper(t, m.slow, "remember/app:v1", images.Image{Size: measuredSize, Seed: 303})
	pods := map[string]string{}
	for _, name := range []string{"misses", "hits"} {
		d := deployment(name, image, 1)
		d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
		m.deploy(t, "remember", d)
		eventually(t, time.Minute, name+" to run", func() error {
			list, err := m.Client().CoreV1().Pods("remember").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
			if err != nil || len(list.Items) != 1 || !podRunning(&list.Items[0]) {
				return fmt.Errorf("it does not (%v)", err)
			}
			pods[name] = list.Items[0].Name
			return nil
		})
		m.pulledEvent(t, "remember", pods[name])
	}
	var history struct {
		Starts, Hits, Misses, Unknown int
		Workloads                     []struct {
			Kind, Name                                     string
			Hits, Misses                                   int
			PulledSeconds, MedianStartUpSeconds, PullShare float64
		}
	}
	file := filepath.Join(t.TempDir(), "history.html")
	m.asks(t, &history, "history", "-n", "remember", "--html", file)
	if history.Starts != 2 || history.Hits != 1 || history.Misses != 1 || len(history.Workloads) != 2 {
		t.Fatalf("the history is %+v, want a hit and a miss", history)
	}
	miss, hit := history.Workloads[0], history.Workloads[1]
	if miss.Kind != "Deployment" || miss.Name != "misses" || miss.Misses != 1 || hit.Name != "hits" || hit.Hits != 1 || hit.PulledSeconds != 0 {
		t.Errorf("the workloads are %+v, want the Deployment that misses before the one that hits", history.Workloads)
	}
	if said := m.pullOf(t, "remember", pods["misses"], image); miss.PulledSeconds != said || said < 3 || miss.MedianStartUpSeconds < said || miss.PullShare < 0.3 {
		t.Errorf("the miss is %+v, and the kubelet says %v s, want the same and most of the start-up", miss, said)
	}
	page(t, file, "remember/misses", pods["hits"])

	output, err := m.command(t.Context(), "history", "-A", "-o", "wide").CombinedOutput()
	if err != nil || !strings.Contains(string(output), "Deployment/misses") || strings.Contains(string(output), "kube-prepull-linux") {
		t.Errorf("the history of all namespaces has not the Deployment, or prepull pods (%v):\n%s", err, output)
	}
}
