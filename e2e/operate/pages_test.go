package operate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// pages are those whose commands are run here, as far as they are those of kubectl and helm.
var pages = []string{"README.md", "docs/getting-started.md", "docs/new-nodes.md", "docs/operations.md"}

// notRun are commands of these pages, by their beginnings, that do not end.
var notRun = []string{"kubectl prepull status --watch"}

// TestTheCommandsOfThePages runs each of them on one node, in an order that makes sense: kube-prepull is installed and
// uninstalled in each of the ways that they tell.
func TestTheCommandsOfThePages(t *testing.T) {
	t.Parallel()
	r := &reader{product: product{lab.UninstalledOn(t, cluster.Options{Nodes: []cluster.Node{{Name: "node-1"}}})}, unread: commandsOfPages(t)}
	r.MayBeRefused()
	r.startReading(t)

	r.do(t, "kubectl apply -f deploy/namespace.yaml")
	r.do(t, "helm install kube-prepull")
	r.do(t, "kubectl -n kube-prepull rollout status")
	r.do(t, "helm test kube-prepull")
	lab.Kubectl(t, r.Product, "label", "node", "node-1", "pool=web")
	r.Namespace(t, "shop", false)
	r.do(t, "kubectl label namespace shop kube-prepull.io/enabled=true")
	image := r.Push(t, "shop/payments:v1", images.Image{Seed: 680})
	r.Deploy(t, "shop", lab.Deployment("payments", image, 1))
	object := r.WaitState(t, image, "Ready")
	pod, _, _ := strings.Cut(r.workload(t, "shop"), " ")
	r.names = []string{"payments-v1-ef1c568b", object.GetName(), "payments-5d8f-x2x7k", pod}
	for _, command := range []string{
		"kubectl get ppi", "kubectl describe ppi", "kubectl -n kube-prepull get daemonsets,pods", "kubectl -n kube-prepull get lease",
		"kubectl get mutatingwebhookconfiguration", "kubectl prepull explain shop/payments", "kubectl prepull explain pod/",
		"kubectl prepull measure history", "kubectl prepull export", "kubectl get --raw", "kubectl get nodes -o custom-columns",
		"kubectl label namespace shop kube-prepull.io/rewrite", "kubectl create clusterrolebinding prometheus-kube-prepull",
		"kubectl -n kube-prepull create serviceaccount", "kubectl create clusterrolebinding prometheus-token", "kubectl -n kube-prepull apply -f -",
		"kubectl -n kube-prepull get configmap kube-prepull-trust", "kubectl -n kube-prepull create secret docker-registry mirror",
		"kubectl -n kube-prepull create secret docker-registry noop", "kubectl -n kube-prepull get secrets", "kubectl create rolebinding",
		"helm upgrade kube-prepull deploy/chart --namespace kube-prepull --reset-then-reuse-values \\\n  --set config.gate.enabled",
		"helm upgrade kube-prepull deploy/chart --namespace kube-prepull --reset-then-reuse-values \\\n  --set config.nodeCondition",
		"helm upgrade kube-prepull deploy/chart --namespace kube-prepull --reset-then-reuse-values --set config.pullsPerNode",
		"helm upgrade kube-prepull deploy/chart --namespace kube-prepull --reset-then-reuse-values --set config.resyncInterval",
		"kubectl delete mutatingwebhookconfiguration", "helm upgrade kube-prepull deploy/chart --namespace kube-prepull --reset-then-reuse-values",
		"helm rollback", "kubectl label namespace kube-prepull pod-security.kubernetes.io/enforce=privileged",
		"kubectl label namespace kube-prepull pod-security.kubernetes.io/enforce=restricted", "kubectl label namespace shop kube-prepull.io/enabled-",
		"kubectl label namespaces --all", "kubectl prepull uninstall --dry-run", "kubectl prepull uninstall --yes",
		"helm uninstall kube-prepull --namespace kube-prepull --no-hooks", "for node in", "kubectl delete customresourcedefinition", "kubectl delete namespace",
	} {
		r.do(t, command)
	}

	r.again(t, "kubectl apply -f deploy/namespace.yaml", "helm install kube-prepull")
	r.do(t, "helm uninstall kube-prepull --namespace kube-prepull")

	r.do(t, "helm template")
	r.do(t, "kubectl apply -f deploy/namespace.yaml -f kube-prepull.yaml")
	r.again(t, "kubectl -n kube-prepull rollout status")
	r.again(t, "kubectl delete mutatingwebhookconfiguration")
	r.do(t, "kubectl -n kube-prepull get configmap kube-prepull -o yaml")
	for _, command := range []string{"kubectl taint nodes --all KEY-", "kubectl taint node NODE KEY-", "kubectl prepull ungate"} {
		lab.Kubectl(t, r.Product, "taint", "node", "node-1", "kube-prepull.io/warming=:NoSchedule")
		r.do(t, command)
	}
	for _, command := range []string{
		"kubectl -n kube-prepull delete deployment", "kubectl -n kube-prepull delete daemonsets,secrets", "kubectl -n kube-prepull delete secret/",
		"kubectl delete prepullimages -l app", "kubectl delete prepullimages -l kube-prepull.io/declared-by", "kubectl delete -f kube-prepull.yaml",
	} {
		r.do(t, command)
	}
	for _, command := range r.unread {
		if !slices.ContainsFunc(notRun, func(begins string) bool { return strings.HasPrefix(command, begins) }) {
			t.Errorf("nobody runs this:\n%s", command)
		}
	}
}

// reader runs commands of pages, each where the page says it: in the checkout, with the values of one's own images.
type reader struct {
	product
	dir    string
	plugin lab.Plugin

	// unread are commands that were not run yet, and read those that were.
	unread, read []string

	// names of the pages, each with the one that it has here.
	names []string
}

func (r *reader) startReading(t *testing.T) {
	t.Helper()
	r.dir, r.plugin = t.TempDir(), lab.PluginFor(t, r.Cluster)
	if err := os.Symlink(lab.Source("deploy"), filepath.Join(r.dir, "deploy")); err != nil {
		t.Fatal(err)
	}
	values := fmt.Sprintf("image: {repository: %[1]s/kube-prepull, tag: %[2]s}\nnoop: {image: {repository: %[1]s/kube-prepull-noop, tag: %[2]s}}\nconfig: {gate: {taintKey: kube-prepull.io/warming}}\n",
		r.Registry.Addr(), lab.Version)
	if err := os.WriteFile(filepath.Join(r.dir, "values.yaml"), []byte(values), 0o644); err != nil {
		t.Fatal(err)
	}
}

// do runs the command of the pages that begins with some words, the shortest of several.
func (r *reader) do(t *testing.T, begins string) {
	t.Helper()
	var found string
	for _, command := range r.unread {
		if strings.HasPrefix(command, begins) && (found == "" || len(command) < len(found)) {
			found = command
		}
	}
	if found == "" {
		t.Fatalf("no page says: %s", begins)
	}
	r.unread = slices.DeleteFunc(r.unread, func(command string) bool { return command == found })
	r.read = append(r.read, found)
	r.run(t, found)
}

// again runs commands once more.
func (r *reader) again(t *testing.T, begin ...string) {
	t.Helper()
	for _, begins := range begin {
		i := slices.IndexFunc(r.read, func(command string) bool { return strings.HasPrefix(command, begins) })
		if i < 0 {
			t.Fatalf("not run before: %s", begins)
		}
		r.run(t, r.read[i])
	}
}

func (r *reader) run(t *testing.T, command string) {
	t.Helper()
	here := append([]string{"NODE", "node-1", "KEY", "kube-prepull.io/warming", "USER", "user", "PASSWORD", "secret"}, r.names...)
	cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", strings.NewReplacer(here...).Replace(command))
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+r.Kubeconfig(), "HELM_CACHE_HOME="+r.dir, "HELM_CONFIG_HOME="+r.dir, "HELM_DATA_HOME="+r.dir,
		"PATH="+strings.Join([]string{filepath.Dir(r.plugin.Binary), r.Programs(), os.Getenv("PATH")}, ":"))
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("$ %s\n%s%v", command, output, err)
	}
	t.Logf("$ %s\n%s", command, output)
}

// comment is what a command says to people.
var comment = regexp.MustCompile(`\s+# .*`)

// commandsOfPages are the indented commands of the pages that run kubectl or helm, each once. Examples of what one may see begin
// with a dollar sign.
func commandsOfPages(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, page := range pages {
		content, err := os.ReadFile(lab.Source(page))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(content), "\n")
		for i := 0; i < len(lines); i++ {
			if !begins.MatchString(lines[i]) {
				continue
			}
			end := i + 1
			for more(strings.Join(lines[i:end], "\n")) && end < len(lines) {
				end++
			}
			command := make([]string, end-i)
			for j := range command {
				command[j] = comment.ReplaceAllString(strings.TrimPrefix(lines[i+j], "    "), "")
			}
			if text := strings.Join(command, "\n"); !slices.Contains(found, text) {
				found = append(found, text)
			}
			i = end - 1
		}
	}
	return found
}

var begins = regexp.MustCompile(`^    (kubectl|helm|for) `)

// more tells whether lines are the beginning of a command that goes on.
func more(lines string) bool {
	last := strings.TrimSpace(lines[strings.LastIndexByte(lines, '\n')+1:])
	return strings.HasSuffix(lines, "\\") ||
		strings.HasPrefix(lines, "    for ") && last != "done" ||
		strings.Contains(lines, "<<EOF") && last != "EOF"
}
