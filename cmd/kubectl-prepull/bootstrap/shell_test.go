package bootstrap

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// fake stands in for ctr and crictl. It records each call, its arguments ended by NUL bytes, with what it was told of
// credentials; an image called missing cannot be pulled, one called present is there, and one called slow takes a while.
const fake = `#!/bin/bash
call=$(mktemp "$CALLS/XXXXXX")
printf '%s\0' "${0##*/}" "$@" >"$call"
last=${!#}
case "$*" in
version) exit "${RUNTIME_DOWN:-0}" ;;
*"images ls"*) echo registry.test/present:v1 ;;
inspecti*) [[ $last == *present* ]] ;;
*pull*)
  printf '%s' "${CRICTL_AUTH-}" >"$call.auth"
  if [[ $* == *--hosts-dir* ]]; then
    cp -r "$6" "$call.hosts"
    stat -c %a "$6" >"$call.mode"
  fi
  if [[ $last == *slow* ]]; then
    echo + >>"$CALLS/level"
    sleep 0.3
    echo - >>"$CALLS/level"
  fi
  if [[ $last == *missing* ]]; then
    echo 'some progress'
    echo "$last: not found" >&2
    exit 1
  fi
  echo pulled
  ;;
esac
`

// shell runs a script with fakes of the programs that it calls.
type shell struct {
	t     *testing.T
	dir   string
	calls string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED: there is no bash")
	}
	s := &shell{t: t, dir: t.TempDir()}
	s.program("ctr", fake)
	s.program("crictl", fake)
	for _, name := range []string{"aws", "az", "gcloud", "systemctl"} {
		s.program(name, "#!/bin/bash\nexit 1\n")
	}
	return s
}

// program puts one in the PATH of scripts.
func (s *shell) program(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// run returns what a script prints, and its exit code.
func (s *shell) run(script string, env ...string) (output string, code int) {
	s.t.Helper()
	s.calls = s.t.TempDir()
	cmd := exec.CommandContext(s.t.Context(), "bash", "-c", script)
	cmd.Env = append([]string{"PATH=" + s.dir + ":/usr/bin:/bin", "CALLS=" + s.calls, "TMPDIR=" + s.t.TempDir(), "PREPULL_TRIES=1", "PREPULL_HOSTS_DIR=" + s.dir + "/none"}, env...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// pulled are the images of all calls that pull one, sorted, and the calls as they were made.
func (s *shell) pulled() (images []string, calls [][]string) {
	s.t.Helper()
	files, err := filepath.Glob(s.calls + "/??????")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		call := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
		if slices.Contains(call, "pull") {
			images, calls = append(images, call[len(call)-1]), append(calls, call)
		}
	}
	slices.Sort(images)
	return images, calls
}

// only is the content of the one file with this ending that a fake wrote.
func (s *shell) only(pattern string) string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.calls, pattern))
	if err != nil || len(files) != 1 {
		s.t.Fatalf("%s is %v (%v), want one file", pattern, files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func imagesNamed(names ...string) []workload.Image {
	var images []workload.Image
	for _, name := range names {
		images = append(images, workload.Image{Name: name})
	}
	return images
}

// rendered is images in a format.
func rendered(t *testing.T, format string, names ...string) string {
	t.Helper()
	o := &Output{format: format, noopImage: defaultNoopImage, parallel: 2}
	var out bytes.Buffer
	env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &out, ErrOut: t.Output()})
	if err := o.Write(env, imagesNamed(names...), nil); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
