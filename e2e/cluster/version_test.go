package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// program is one that says something.
func program(t *testing.T, name, says string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\ncat <<'END'\n"+says+"\nEND\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Not parallel, as the next one: a program that another test's process holds open for writing cannot be run.
func TestMinorIn(t *testing.T) {
	for says, want := range map[string]int{"Kubernetes v1.30.14": 30, "Kubernetes v1.37.2-eks-1a2b3c": 37, "something else": 0} {
		if got, err := minorIn(t.Context(), program(t, "kube-apiserver", says)); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d (%v), want %d", says, got, err, want)
		}
	}
}

func TestControllersThatAreUnknownAreNotNamed(t *testing.T) {
	help := `      --controllers strings   A list of controllers to enable.
                              All controllers: a-controller, b-controller, c-controller
                              Disabled-by-default controllers: b-controller (default [*])`
	got, err := allBut(t.Context(), filepath.Join(program(t, "manager", help), "manager"), []string{"c-controller", "new-controller", "a-controller"})
	if want := "*,-c-controller,-a-controller"; got != want || err != nil {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
	if got, err := allBut(t.Context(), filepath.Join(program(t, "manager", "no help"), "manager"), nil); err == nil {
		t.Errorf("a controller manager that lists none is told %q", got)
	}
}

func TestOldAPIServersHaveEndpoints(t *testing.T) {
	t.Parallel()
	for minor, want := range map[int]bool{30: false, 36: false, 37: true} {
		if got := slices.Contains(unneeded(minor), "endpoints-controller"); got != want {
			t.Errorf("in 1.%d the controller of Endpoints is left out: %t, want %t", minor, got, want)
		}
	}
}
