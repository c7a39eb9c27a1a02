package cluster

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Minor is the minor version of the Kubernetes that Up brings up: 30 for v1.30.14.
func Minor(ctx context.Context) (int, error) {
	programs, err := Binaries(ctx, io.Discard)
	if err != nil {
		return 0, err
	}
	return minorIn(ctx, programs)
}

// minorIn asks a folder's API server which version it is: it may have been built elsewhere.
func minorIn(ctx context.Context, programs string) (int, error) {
	said, err := exec.CommandContext(ctx, filepath.Join(programs, "kube-apiserver"), "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("asking the API server for its version: %w", err)
	}
	var minor int
	if _, err := fmt.Sscanf(string(said), "Kubernetes v1.%d.", &minor); err != nil {
		return 0, fmt.Errorf("the API server's version is %q", said)
	}
	return minor, nil
}

// allBut tells a controller manager to run all controllers but these, as far as it knows them: one that it does not know would keep
// it from starting.
func allBut(ctx context.Context, controllerManager string, controllers []string) (string, error) {
	help, err := exec.CommandContext(ctx, controllerManager, "--help").Output()
	if err != nil {
		return "", fmt.Errorf("asking the controller manager what it knows: %w", err)
	}
	known := controllersIn(string(help))
	if len(known) == 0 {
		return "", fmt.Errorf("%s --help lists no controllers", controllerManager)
	}
	told := "*"
	for _, name := range controllers {
		if slices.Contains(known, name) {
			told += ",-" + name
		}
	}
	return told, nil
}

// controllersIn are the names that follow in the controller manager's help.
func controllersIn(help string) []string {
	_, after, _ := strings.Cut(help, "All controllers: ")
	list, _, _ := strings.Cut(after, "\n")
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}
