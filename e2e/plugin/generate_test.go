package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// generator runs the plugin of kubectl, of this checkout.
type generator struct {
	product
	path string
}

func newGenerator(t *testing.T, p product) *generator {
	t.Helper()
	path, err := lab.Command("cmd/kubectl-prepull")
	if err != nil {
		t.Fatal(err)
	}
	return &generator{product: p, path: path}
}

// run returns what the plugin prints for what is piped in, and its notes.
func (g *generator) run(t *testing.T, input string, args ...string) (output, notes string) {
	t.Helper()
	output, notes, err := g.try(t, input, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, notes)
	}
	return output, notes
}

func (g *generator) try(t *testing.T, input string, args ...string) (output, messages string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), g.path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+g.Kubeconfig())
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// apply gives the API server manifests, which must be without fields that it does not know.
func (g *generator) apply(t *testing.T, manifests string, args ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Kubectl(t.Context(), append([]string{"apply", "--server-side", "--validate=strict", "-f", file}, args...)...); err != nil {
		t.Fatalf("%v\n%s", err, manifests)
	}
}

// runOnNode runs a script as root of a node, as its user data would, and returns what it prints and its exit code.
func (g *generator) runOnNode(t *testing.T, node, script string) (output string, code int) {
	t.Helper()
	inits := lab.ProcessesWith(t, "KUBE_PREPULL_TEST_CLUSTER_ROLE_ARGUMENT="+filepath.Join(g.Dir(), "nodes", node))
	if len(inits) == 0 {
		t.Fatalf("node %s does not run", node)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", fmt.Sprintf("--target=%d", inits[0]), "--mount", "--net", "--pid", "bash", "-s")
	cmd.Env = []string{
		"PATH=/var/lib/kube-prepull/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=/run",
		"PREPULL_HOSTS_DIR=/var/lib/kube-prepull/registries", "PREPULL_TRIES=2",
	}
	cmd.Stdin = strings.NewReader(script)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// TestAScriptPullsForPods runs a generated script on a node. Pods then start with no word to the registry, from images of
// which one is private, while another one of the script is missing.
func TestAScriptPullsForPods(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	g := newGenerator(t, p)
	open := p.Push(t, "generate/open:v1", images.Image{Size: 3 << 20, Layers: 3, Seed: 901})
	private := p.Push(t, "generate/private:v1", images.Image{Seed: 902})
	missing := p.Registry.Addr() + "/generate/missing:v1"
	const user, password = "00000000-0000-0000-0000-000000000000", "generated-secret"
	p.Registry.Private("generate/private", registry.Auth{User: user, Password: password})

	manifest := fmt.Sprintf("kind: Pod\nspec: {containers: [{image: %q}, {image: %q}, {image: %q}]}\n", open, private, missing)
	script, _ := g.run(t, manifest, "generate", "-f", "-", "--format", "bash-ctr")
	// The registry of the test in the place of a cloud's: it speaks plain HTTP, and has a helper of its own.
	helper := "\nhelpers=$(mktemp -d -p /var)\nprintf '#!/bin/sh\\necho " + password + "\\n' > \"$helpers/az\"\nchmod +x \"$helpers/az\"\nPATH=$helpers:$PATH\nlogin\n"
	for from, to := range map[string]string{
		"*.azurecr.io)": p.Registry.Addr() + ")", `https://$host`: `http://$host`, "\nlogin\n": helper,
	} {
		if !strings.Contains(script, from) {
			t.Fatalf("the script has no %q:\n%s", from, script)
		}
		script = strings.ReplaceAll(script, from, to)
	}
	output, code := g.runOnNode(t, "node-1", script)
	t.Logf("the script prints\n%s", output)
	for _, want := range []string{open + " is pulled", private + " is pulled", missing + " is not pulled: ", "2 of 3 images are there"} {
		if !strings.Contains(output, want) {
			t.Errorf("the script does not say %q", want)
		}
	}
	if code != 1 || strings.Contains(output, password) {
		t.Errorf("the script ends with %d, and prints\n%s", code, output)
	}

	before := p.Registry.Counts("generate/*")
	if before.BlobBytes < 3<<20 {
		t.Errorf("the registry has sent %d bytes", before.BlobBytes)
	}
	for name, image := range map[string]string{"open": open, "private": private} {
		pod := lab.PodOn("node-1", "generate-"+name, image)
		lab.StartPod(t, p.Cluster, pod)
		t.Cleanup(func() {
			_ = p.Client().CoreV1().Pods("default").Delete(context.Background(), pod.Name, metav1.DeleteOptions{})
		})
		message := p.PulledEvent(t, "default", pod.Name)
		t.Logf("the kubelet: %s", message)
		if !strings.Contains(message, "already present on machine") {
			t.Errorf("the kubelet says of %s: %s", image, message)
		}
	}
	if after := p.Registry.Counts("generate/*"); after != before {
		t.Errorf("the pods asked the registry: %+v, and before %+v", after, before)
	}

	output, _ = g.runOnNode(t, "node-1", script)
	if !strings.Contains(output, open+" is there") || !strings.Contains(output, private+" is there") {
		t.Errorf("the second time the script prints\n%s", output)
	}
}

// TestGeneratedManifests has the API server judge what is generated, in a namespace with the strictest rules for pods.
func TestGeneratedManifests(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	g := newGenerator(t, p)
	p.Namespace(t, "generate", false)
	_, err := p.Kubectl(t.Context(), "label", "namespace", "generate", "pod-security.kubernetes.io/enforce=restricted")
	if err != nil {
		t.Fatal(err)
	}
	image := p.Push(t, "manifests/workload:v1", images.Image{Seed: 903})
	second := p.Push(t, "manifests/second:v1", images.Image{Seed: 904})
	manifest := fmt.Sprintf(`
kind: Deployment
metadata: {name: a, namespace: shop}
spec: {template: {spec: {containers: [{image: %q}], nodeSelector: {kubernetes.io/hostname: node-2}, imagePullSecrets: [{name: none}]}}}
---
kind: CronJob
metadata: {name: b}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: %q}], tolerations: [{key: a, operator: Exists}]}}}}}
`, image, second)
	declared, _ := g.run(t, manifest, "generate", "-f", "-", "--format", "prepullimages")
	g.apply(t, declared, "--dry-run=server")
	for _, tool := range []string{"kube-fledged", "openkruise"} {
		text, err := os.ReadFile(lab.Source("cmd/kubectl-prepull/importer/testdata/" + tool + ".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		imported, _ := g.run(t, string(text), "import", "-f", "-")
		g.apply(t, imported, "--dry-run=server")
	}

	daemonSets, _ := g.run(t, manifest, "generate", "-f", "-", "--format", "daemonset", "-n", "generate",
		"--noop-image", p.Registry.Addr()+"/kube-prepull-noop:"+lab.Version)
	g.apply(t, daemonSets)
	lab.Eventually(t, "the generated DaemonSets to be ready", func() error {
		list, err := p.Client().AppsV1().DaemonSets("generate").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 2 {
			return fmt.Errorf("there are %d (%v)", len(list.Items), err)
		}
		pods := int32(0)
		for _, ds := range list.Items {
			if ds.Status.NumberReady != ds.Status.DesiredNumberScheduled {
				return fmt.Errorf("%s is ready on %d of %d nodes", ds.Name, ds.Status.NumberReady, ds.Status.DesiredNumberScheduled)
			}
			pods += ds.Status.NumberReady
		}
		if pods != 3 { // one image for node-2, one for both
			return fmt.Errorf("%d pods are ready", pods)
		}
		return nil
	})
}

// TestImagesOfTheClusterAreExported finds what a new node of some group should bring.
func TestImagesOfTheClusterAreExported(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	g := newGenerator(t, p)
	p.Namespace(t, "export", true)
	everywhere := p.Push(t, "export/everywhere:v1", images.Image{Seed: 905})
	elsewhere := p.Push(t, "export/elsewhere:v1", images.Image{Seed: 906})
	missing := p.Registry.Addr() + "/export/missing:v1"
	p.Deploy(t, "export", lab.Deployment("everywhere", everywhere, 0))
	d := lab.Deployment("elsewhere", elsewhere, 0)
	d.Spec.Template.Spec.NodeSelector = map[string]string{"pool": "none-yet"}
	p.Deploy(t, "export", d)
	p.Deploy(t, "export", lab.Deployment("missing", missing, 0))
	p.WaitState(t, everywhere, "Ready")
	p.WaitState(t, missing, "PullFailed")
	p.WaitState(t, elsewhere, "Skipped")

	has := func(output, image string) bool { return strings.Contains("\n"+output, "\n"+image+"\n") }
	for _, args := range [][]string{{"--node", "node-1"}, {"--node-selector", "kubernetes.io/hostname=node-2"}, {"--platform", "linux/" + runtime.GOARCH}} {
		output, notes := g.run(t, "", append([]string{"export"}, args...)...)
		if !has(output, everywhere) || has(output, elsewhere) || has(output, missing) {
			t.Errorf("%v exports\n%s", args, output)
		}
		if !strings.Contains(notes, missing+" is left out: ") {
			t.Errorf("%v does not say why it leaves one out:\n%s", args, notes)
		}
	}
	output, notes := g.run(t, "", "export", "--node-selector", "pool=none-yet")
	if !has(output, everywhere) || !has(output, elsewhere) {
		t.Errorf("for a node that is yet to come it exports\n%s", output)
	}
	if !strings.Contains(notes, "no node matches pool=none-yet: these are the images for a node with the labels kubernetes.io/os=linux,pool=none-yet, whatever devices it has, and no taint") {
		t.Errorf("it does not say that there is no node:\n%s", notes)
	}
	script, _ := g.run(t, "", "export", "--node", "node-1", "--format", "bash-ctr", "--max-bytes", "100Gi")
	if !strings.Contains(script, "  '"+everywhere+"'\n") {
		t.Errorf("the script is\n%s", script)
	}
	for want, args := range map[string][]string{
		"error: listing PrepullImages: prepullimages.kube-prepull.io is forbidden: ": {"--as", "nobody"},
		`error: reading node nowhere: nodes "nowhere" not found`:                     {"--node", "nowhere"},
	} {
		output, messages, err := g.try(t, "", append([]string{"export"}, args...)...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || output != "" || !strings.HasPrefix(messages, want) || strings.Count(messages, "\n") != 1 {
			t.Errorf("%v ends with %v:\n%s%s", args, err, output, messages)
		}
	}
	declared, _ := g.run(t, "", "export", "--format", "prepullimages")
	g.apply(t, declared, "--dry-run=server")
}
