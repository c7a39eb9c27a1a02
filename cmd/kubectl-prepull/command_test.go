package main

import (
	"bytes"
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
		{"explain"}, {"explain", "a", "b"}, {"explain", "pod/"}, {"explain", ""}, {"ungate"}, {"ungate", "a", "--all"},
		{"uninstall"}, {"uninstall", "a", "--yes"},
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
