package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is noop as it is shipped: static, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "noop")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "built")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		panic("building noop: " + string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"nothing to do exits with 0":        {nil, 0, ""},
		"an unknown word is bad usage":      {[]string{"sleep"}, 2, usage},
		"install needs a folder":            {[]string{"install"}, 2, usage},
		"install takes one folder":          {[]string{"install", "a", "b"}, 2, usage},
		"wait takes no argument":            {[]string{"wait", "1"}, 2, usage},
		"install into nothing says what":    {[]string{"install", "/does/not/exist"}, 1, "noop: installing: open /does/not/exist/.noop-"},
		"an empty argument is not no words": {[]string{""}, 2, usage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			cmd := exec.Command(binary, tc.args...)
			cmd.Stderr = &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tc.code {
				t.Errorf("exit code %d, want %d", got, tc.code)
			}
			if got := stderr.String(); !strings.HasPrefix(got, tc.stderr) || (got != "") != (tc.stderr != "") {
				t.Errorf("stderr %q, want %q", got, tc.stderr)
			}
		})
	}
}

func TestInstallCopiesAProgramThatRunsAndInstallsAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	copied := filepath.Join(dir, "noop")
	// The second time, noop is replaced while it is there, as when an init container runs again after a reboot.
	for range 2 {
		if out, err := exec.Command(binary, "install", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := exec.Command(copied).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	info, err := os.Stat(copied)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o555 {
		t.Errorf("mode %v, want 0555: any user of any image must be able to run it", info.Mode())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%d files in the folder, want noop alone", len(entries))
	}
}

func TestWaitEndsWithASignal(t *testing.T) {
	// The test's own handler keeps a signal that comes before noop's from ending the test.
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(guard)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		ended := make(chan struct{})
		go func() { wait(); close(ended) }()
		waitFor(t, sig, ended)
	}
}

// waitFor sends a signal to this process until ended is closed.
func waitFor(t *testing.T, sig syscall.Signal, ended <-chan struct{}) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
			return
		case <-deadline:
			t.Fatalf("noop never handled %v", sig)
		case <-time.After(time.Millisecond):
		}
	}
}
