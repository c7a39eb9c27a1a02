package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// run runs the plugin without a cluster.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, problems bytes.Buffer
	env := cli.NewEnvironment(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &problems})
	code = cli.Execute(t.Context(), newCommand(env), args)
	return out.String(), problems.String(), code
}

func TestEveryCommandSaysWhatItDoes(t *testing.T) {
	env := cli.NewEnvironment(genericiooptions.IOStreams{})
	for _, c := range newCommand(env).Commands() {
		if c.Short == "" || c.Example == "" && c.Name() != "version" {
			t.Errorf("%s has no description or no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.Contains(line, "kubectl prepull "+c.Name()) {
				t.Errorf("%s has the example %q", c.CommandPath(), line)
			}
		}
		stdout, _, code := run(t, c.Name(), "--help")
		if code != 0 || !strings.Contains(stdout, "kubectl prepull "+c.Name()) {
			t.Errorf("%s --help ends with %d:\n%s", c.Name(), code, stdout)
		}
	}
}

func TestAWrongCommandLineIsAUsageError(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	for _, args := range [][]string{
		{"nothing"}, {"status", "extra"}, {"status", "-o", "xml"}, {"images", "--nothing"}, {"nodes", "one"},
		{"explain"}, {"explain", "a", "b"}, {"explain", "pod/"}, {"explain", ""}, {"ungate"}, {"ungate", "a", "--all"}, {"ungate", "--all", "--taint", "a b"}, {"ungate", "a", "--taint", "k=v:NoSchedule"},
		{"uninstall"}, {"uninstall", "a", "--yes"}, {"uninstall", "--yes", "--taint", "/"}, {"generate", "a.yaml"}, {"import", "a.yaml"}, {"wait", "a.yaml"},
		{"measure", "nothing"}, {"measure", "run"}, {"measure", "run", "a", "b"}, {"measure", "run", "a", "--timeout", "0s"},
		{"measure", "history", "extra"}, {"measure", "history", "-n", "a", "-A"},
		{"export", "-n", "A/B"}, {"generate", "-f", "-", "-n", "A/B"},
		{"wait"}, {"wait", "a:1", "-f", "-"}, {"wait", "-f", "-", "-k", "."}, {"wait", "a b"}, {"wait", "a:1", "--for", "0"},
		{"wait", "a:1", "--for", "101%"}, {"wait", "a:1", "--timeout", "0s"}, {"wait", "a:1", "--node-selector", "a===b"},
	} {
		stdout, stderr, code := run(t, args...)
		if code != 2 || stdout != "" || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, "--help'") {
			t.Errorf("%q ends with %d:\n%s%s", args, code, stdout, stderr)
		}
	}
}

func TestWithoutAClusterThereIsASentence(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	for _, args := range [][]string{
		{"status"}, {"status", "--watch"}, {"images"}, {"nodes"}, {"explain", "nginx"}, {"explain", "pod/a"}, {"explain", "node/a"}, {"ungate", "--all"}, {"ungate", "a", "--taint", "k"},
		{"uninstall", "--yes"}, {"uninstall", "--yes", "--taint", "k"},
		{"measure", "history"}, {"measure", "history", "-n", "a"}, {"measure", "run", "a"}, {"measure", "run", "a", "--node", "b"},
		{"wait", "a:1"}, {"wait", "a:1", "--node-selector", "b=c"},
	} {
		stdout, stderr, code := run(t, append(args, "--server", "http://127.0.0.1:1")...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "connection refused") {
			t.Errorf("%q ends with %d:\n%s%s", args, code, stdout, stderr)
		}
	}
}

// without is an API server of a cluster that has nodes, and no kube-prepull.
func without(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answers := map[string]string{
			"/api":          `{"kind":"APIVersions","versions":["v1"]}`,
			"/apis":         `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]}]}`,
			"/apis/apps/v1": `{"kind":"APIResourceList","groupVersion":"apps/v1","resources":[{"name":"daemonsets","kind":"DaemonSet","namespaced":true,"verbs":["list"]}]}`,
			"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"nodes","kind":"Node","namespaced":false,"verbs":["list"]},` +
				`{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list"]},{"name":"events","kind":"Event","namespaced":true,"verbs":["list"]}]}`,
			"/api/v1/nodes": `{"kind":"NodeList","apiVersion":"v1","items":[{"metadata":{"name":"node-1","labels":{"kubernetes.io/os":"linux"}}}]}`,
			"/apis/apps/v1/namespaces/kube-prepull/daemonsets": `{"kind":"DaemonSetList","apiVersion":"apps/v1","items":[]}`,
			"/api/v1/namespaces/kube-prepull/events":           `{"kind":"EventList","apiVersion":"v1","items":[]}`,
			"/api/v1/namespaces/kube-prepull/pods":             `{"kind":"PodList","apiVersion":"v1","items":[]}`,
		}
		answer, found := answers[r.URL.Path]
		if !found {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server
}

// Every command that reads what kube-prepull has says that it is not there, and none shows an empty table.
func TestWhereKubePrepullIsNotInstalled(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	server := without(t)
	const want = "error: kube-prepull is not installed in this cluster: it has no kind PrepullImage. Install it: helm install kube-prepull"
	reads := map[string][][]string{
		"status": {{}, {"--watch"}, {"-o", "json"}}, "images": {{}, {"-o", "json"}}, "nodes": {{}, {"-o", "json"}, {"-o", "name"}},
		"explain": {{"nginx"}, {"pod/a"}, {"node/node-1"}}, "export": {{}, {"--node-selector", "a=b"}, {"--node", "node-1"}},
		"wait": {{"a:1"}, {"a:1", "--node-selector", "a=b"}},
	}
	// These need no kind of ours, or no cluster at all.
	others := []string{"generate", "import", "measure", "ungate", "uninstall", "version", "help"}
	for _, c := range newCommand(cli.NewEnvironment(genericiooptions.IOStreams{})).Commands() {
		if reads[c.Name()] == nil && !slices.Contains(others, c.Name()) {
			t.Errorf("what does %s say where kube-prepull is not installed?", c.Name())
		}
		for _, args := range reads[c.Name()] {
			stdout, stderr, code := run(t, append([]string{c.Name(), "--server", server.URL}, args...)...)
			if code != 1 || stdout != "" || !strings.HasPrefix(stderr, want) {
				t.Errorf("%s %q ends with %d:\n%s%s", c.Name(), args, code, stdout, stderr)
			}
		}
	}
	if stdout, stderr, code := run(t, "ungate", "--all", "--taint", "k", "--server", server.URL); code != 0 {
		t.Errorf("ungate ends with %d:\n%s%s", code, stdout, stderr)
	}
}

func TestWhatIsNoImageIsNotMeasured(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	for _, image := range []string{"", "a b", "app:v1; reboot", "$(reboot)", "`reboot`", "app:v1|cat", "../app", "App"} {
		_, stderr, code := run(t, "measure", "run", image)
		if code != 1 || !strings.Contains(stderr, "is not the name of an image") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q ends with %d:\n%s", image, code, stderr)
		}
	}
}

func TestFormatsAreCompleted(t *testing.T) {
	for _, command := range []string{"status", "images", "nodes", "explain"} {
		stdout, _, _ := run(t, cobra.ShellCompRequestCmd, command, "-o", "")
		if !strings.HasPrefix(stdout, "table\nwide\njson\nyaml\n") {
			t.Errorf("-o of %s is completed with\n%s", command, stdout)
		}
	}
}

func TestWhatCannotBeReadIsNotWaitedFor(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	for input, want := range map[string]string{
		"kind: Service\nmetadata: {name: b}\n": "there is no workload in standard input: no pods come of Service b",
		"a: b: c\n":                            "standard input:1: this is not YAML",
		"kind: Pod\nspec: {containers: [{image: a:1}]}\n---\nimage: b:1\n":     "standard input:4: this object has no kind",
		"kind: Pod\nspec: {containers: [{image: a:1}, {image: \"${TAG}\"}]}\n": "the image cannot be parsed",
	} {
		var out, problems bytes.Buffer
		env := cli.NewEnvironment(genericiooptions.IOStreams{In: strings.NewReader(input), Out: &out, ErrOut: &problems})
		code := cli.Execute(t.Context(), newCommand(env), []string{"wait", "-f", "-", "--server", "http://127.0.0.1:1"})
		if code != 1 || out.Len() > 0 || !strings.Contains(problems.String(), want) {
			t.Errorf("%q ends with %d:\n%s%s", input, code, &out, &problems)
		}
	}
}
