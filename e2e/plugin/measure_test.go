package plugin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// measuring is the plugin at work on a product's cluster, with a slow registry of its own.
type measuring struct {
	product
	plugin
	slow *registry.Registry
}

// The size of images, and what the registry makes of it: 3.4 s on the wire.
const measuredSize, measuredBandwidth = 20 << 20, 50_000_000

func newMeasuring(t *testing.T) *measuring {
	t.Helper()
	p := product{lab.Shared(t)}
	return &measuring{p, plugin{lab.PluginFor(t, p.Cluster)}, lab.NewRegistry(t, p.Cluster, registry.Options{Bandwidth: measuredBandwidth})}
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

// sameSeconds compares to the millisecond.
func sameSeconds(a, b float64) bool { return math.Abs(a-b) < 0.0005 }

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
	for _, want := range append(wants, `<figure class="chart"`, "</html>") {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s does not have %q", file, want)
		}
	}
}

// TestMeasureRun has an image that no node has, in a namespace that lets no privileged pod in.
func TestMeasureRun(t *testing.T) {
	t.Parallel()
	m := newMeasuring(t)
	m.Namespace(t, "measure", true)
	enforce := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`
	if _, err := m.Client().CoreV1().Namespaces().Patch(t.Context(), "measure", "application/merge-patch+json", []byte(enforce), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	image := lab.PushSleeper(t, m.slow, "measure/app:v1", images.Image{Size: measuredSize, Seed: 301})

	file := filepath.Join(t.TempDir(), "run.html")
	var cold experiment
	m.Asks(t, &cold, "measure", "run", image, "-n", "measure", "--node", "node-2", "--html", file)
	t.Logf("cold %.2f s, warm %.2f s: %.1f times", cold.ColdSeconds, cold.WarmSeconds, cold.Ratio)
	if len(cold.Starts) != 4 || !cold.Starts[0].Cold || cold.Starts[1].Cold || cold.Node != "node-2" || cold.Ratio <= 1 {
		t.Fatalf("the experiment is %+v, want a cold start and three warm ones on node-2, and a ratio above 1", cold)
	}
	first := cold.Starts[0]
	if said := m.pullOf(t, "measure", first.Pod, image); !sameSeconds(first.PulledSeconds, said) || said < 3 || first.StartUpSeconds < said {
		t.Errorf("pulled in %v s of %v s, and the kubelet says %v s, want at least the 3.4 s of the wire", first.PulledSeconds, first.StartUpSeconds, said)
	}
	if sent := m.slow.Counts("measure/app").BlobBytes; sent < measuredSize || sent > 2*measuredSize {
		t.Errorf("the registry sent %d bytes, want those of one pull", sent)
	}
	page(t, file, image+" on node node-2", "Cold against warm")

	// Another node lacks it still; then none does.
	var other, warm experiment
	m.Asks(t, &other, "measure", "run", image, "-n", "measure")
	if other.Node != "node-1" || !other.Starts[0].Cold {
		t.Errorf("the second experiment is %+v, want a cold start on node-1", other)
	}
	m.Asks(t, &warm, "measure", "run", image, "-n", "measure", "--node", "node-1")
	if len(warm.Starts) != 3 || warm.Starts[0].Cold || warm.Ratio != 0 || len(warm.Notes) != 1 || !strings.Contains(warm.Notes[0], "no cold start") {
		t.Errorf("the third experiment is %+v, want warm starts alone, and a note", warm)
	}
	if m.PrepullImage(t, image) != nil {
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
	image := lab.PushSleeper(t, m.slow, "measure/interrupted:v1", images.Image{Size: 2 * measuredSize, Seed: 302})
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), m.Binary, "measure", "run", image, "-n", "measure", "--node", "node-1")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+m.Kubeconfig)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the pull to begin", func() error {
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
	missing, present := m.slow.Addr()+"/measure/missing:v1", m.slow.Addr()+"/measure/app:v1"
	for _, test := range []struct {
		sentence string
		args     []string
	}{
		{`"nowhere" not found`, []string{"run", "app:v1", "--node", "nowhere"}},
		{`"nowhere" not found`, []string{"run", "app:v1", "--node", "node-1", "-n", "nowhere"}},
		{"cannot get resource", []string{"run", "app:v1", "--node", "node-1", "--as", "nobody"}},
		{"cannot list resource", []string{"history", "-n", "measure", "--as", "nobody"}},
		{"not found", []string{"run", missing, "-n", "measure", "--node", "node-1"}},
		{"longer than --timeout", []string{"run", present, "-n", "measure", "--node", "node-1", "--timeout", "1s"}},
		{"no such file", []string{"history", "-n", "nowhere", "--html", "/nowhere/page.html", "-o", "json"}},
	} {
		if _, stderr, code := m.Run(t, append([]string{"measure"}, test.args...)...); code != 1 || !strings.Contains(stderr, test.sentence) {
			t.Errorf("measure %q ends with %d and %q, want 1 and %q", test.args, code, stderr, test.sentence)
		}
	}
	if left := m.pods(t); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name)
	}
}

// TestMeasureHistory has a Deployment whose image comes, and then one whose image is there, in a namespace that kube-prepull
// has nothing to do with.
func TestMeasureHistory(t *testing.T) {
	t.Parallel()
	m := newMeasuring(t)
	m.Namespace(t, "remember", false)
	image := lab.PushSleeper(t, m.slow, "remember/app:v1", images.Image{Size: measuredSize, Seed: 303})
	pods := map[string]string{}
	for _, name := range []string{"misses", "hits"} {
		d := lab.Deployment(name, image, 1)
		d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
		m.Deploy(t, "remember", d)
		lab.Eventually(t, name+" to run", func() error {
			list, err := m.Client().CoreV1().Pods("remember").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
			if err != nil || len(list.Items) != 1 || !lab.PodRunning(&list.Items[0]) {
				return fmt.Errorf("it does not (%v)", err)
			}
			pods[name] = list.Items[0].Name
			return nil
		})
		m.PulledEvent(t, "remember", pods[name])
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
	m.Asks(t, &history, "measure", "history", "-n", "remember", "--html", file)
	if history.Starts != 2 || history.Hits != 1 || history.Misses != 1 || len(history.Workloads) != 2 {
		t.Fatalf("the history is %+v, want a hit and a miss", history)
	}
	miss, hit := history.Workloads[0], history.Workloads[1]
	if miss.Kind != "Deployment" || miss.Name != "misses" || miss.Misses != 1 || hit.Name != "hits" || hit.Hits != 1 || hit.PulledSeconds != 0 {
		t.Errorf("the workloads are %+v, want the Deployment that misses before the one that hits", history.Workloads)
	}
	if said := m.pullOf(t, "remember", pods["misses"], image); !sameSeconds(miss.PulledSeconds, said) || said < 3 || miss.MedianStartUpSeconds < said || miss.PullShare < 0.3 {
		t.Errorf("the miss is %+v, and the kubelet says %v s, want the same and most of the start-up", miss, said)
	}
	page(t, file, "remember/misses", pods["hits"])

	m.viewerMeasures(t)
}

// viewerMeasures asks as somebody who has the role that the chart offers, and nothing else.
func (m *measuring) viewerMeasures(t *testing.T) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "measure-viewer"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kube-prepull-view"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "measure-viewer"}},
	}
	if _, err := m.Client().RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Client().RbacV1().ClusterRoleBindings().Delete(context.Background(), binding.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, "the viewer to see all namespaces", func() error {
		stdout, stderr, code := m.Run(t, "measure", "history", "-A", "-o", "wide", "--as", "measure-viewer")
		if code != 0 || !strings.Contains(stdout, "Deployment/misses") || strings.Contains(stdout, "DaemonSet/kube-prepull") {
			return fmt.Errorf("it ends with %d, without the Deployment or with prepull pods:\n%s%s", code, stdout, stderr)
		}
		return nil
	})
	m.refuses(t, 1, []string{"measure", "run", "app:v1", "-n", "remember", "--node", "node-1", "--as", "measure-viewer"}, "cannot create resource")
}
