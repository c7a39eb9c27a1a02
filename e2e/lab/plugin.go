package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// Plugin is the built plugin, asking one cluster.
type Plugin struct{ Binary, Kubeconfig string }

// PluginFor is the plugin of this checkout for a cluster.
func PluginFor(t *testing.T, c *cluster.Cluster) Plugin {
	t.Helper()
	binary, err := Command("cmd/kubectl-prepull")
	if err != nil {
		t.Fatal(err)
	}
	return Plugin{binary, c.Kubeconfig()}
}

// Run returns what the plugin prints, and its exit code.
func (p Plugin) Run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(t.Context(), p.Binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.Kubeconfig)
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if text := out.String() + problems.String(); strings.Contains(text, "goroutine ") || strings.Contains(out.String(), "\x1b[") {
		t.Errorf("%v prints a stack, or colours into a pipe:\n%s", args, text)
	}
	return out.String(), problems.String(), cmd.ProcessState.ExitCode()
}

// Asks runs the plugin with -o json, and reads what it prints.
func (p Plugin) Asks(t *testing.T, into any, args ...string) {
	t.Helper()
	stdout, stderr, code := p.Run(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(stdout), into); err != nil || code != 0 {
		t.Fatalf("%v ends with %d (%v):\n%s%s", args, code, err, stdout, stderr)
	}
}
