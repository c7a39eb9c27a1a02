package tutorial

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

func TestMain(m *testing.M) { lab.Main(m) }

// bandwidth of the registry, as in the demo.
const bandwidth = 100_000_000

// reading is a command that changes nothing: a reader looks again until it prints what the page shows, and so does the test.
var reading = regexp.MustCompile(`^kubectl (-n \w+ )?(get|prepull) `)

// TestTheTutorial runs each command of the page on a cluster like that of the demo, whose preparation is not part of it.
func TestTheTutorial(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(lab.Source("docs/tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples := examplesOf(string(page))
	if len(examples) < 10 {
		t.Fatalf("%d commands were found: the page has more", len(examples))
	}
	p := lab.Own(t, "node-1", "node-2", "node-3")
	slow := lab.NewRegistry(t, p.Cluster, registry.Options{Bandwidth: bandwidth})
	for i, name := range []string{"bread:v1", "bread:v2", "cake:v1"} {
		lab.PushSleeper(t, slow, "bakery/"+name, images.Image{Seed: uint64(700 + i), Size: 30 << 20})
	}
	plugin := lab.PluginFor(t, p.Cluster)
	s := startShell(t, "KUBECONFIG="+p.Kubeconfig(), "REGISTRY="+slow.Addr(),
		"PATH="+strings.Join([]string{filepath.Dir(plugin.Binary), p.Programs(), os.Getenv("PATH")}, ":"))
	for _, e := range examples {
		t.Logf("$ %s", e.command)
		if !reading.MatchString(e.command) {
			if err := s.check(e); err != nil {
				t.Fatal(err)
			}
			continue
		}
		lab.Eventually(t, "what the page shows", func() error { return s.check(e) })
	}
}

// shell is one bash for all commands, as a reader has.
type shell struct {
	in  io.Writer
	out *bufio.Reader
}

func startShell(t *testing.T, env ...string) *shell {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // its commands were looked at one by one
	})
	return &shell{in, bufio.NewReader(out)}
}

// end of what a command prints: a character that no text has.
const end = '\x1e'

// check runs a command, and returns an error if it fails, or prints what the page does not show.
func (s *shell) check(e example) error {
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null; printf '%%d\\036' $?\n", e.command); err != nil {
		return err
	}
	text, err := s.out.ReadString(end)
	if err != nil {
		return fmt.Errorf("%s ends the shell: %w", e.command, err)
	}
	var printed []string
	for line := range strings.SplitSeq(strings.TrimSuffix(text, string(end)), "\n") {
		if line != "" {
			printed = append(printed, line)
		}
	}
	code := printed[len(printed)-1]
	if printed = printed[:len(printed)-1]; code != "0" || !shows(e.output, printed) {
		return fmt.Errorf("$ %s\nends with %s, and prints (-page +printed):\n%s\n%s", e.command, code, cmp.Diff(e.output, printed), strings.Join(printed, "\n"))
	}
	return nil
}
