package main

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestTheShippedManagerHasTheClocksOfProduction runs what "make image" compiles, and what tests get.
func TestTheShippedManagerHasTheClocksOfProduction(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: images are for Linux, and so is what would have to run here")
	}
	readSources(t)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"shipped":   {nil, "1.2.3\n"},
		"for tests": {[]string{"-clock-speed", "4"}, "1.2.3 (clocks 4 times as fast, for tests)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{"-target", "kube-prepull", "-version", "1.2.3", "-platform", "linux/" + runtime.GOARCH, "-output", dir + "/image", "-binaries", dir}
			lines(t, append(args, test.args...))
			output, err := exec.CommandContext(t.Context(), filepath.Join(dir, "kube-prepull-linux-"+runtime.GOARCH), "version").CombinedOutput()
			if err != nil || string(output) != test.want {
				t.Errorf("it says %q (%v), want %q", output, err, test.want)
			}
		})
	}
}
