package cluster

import (
	"slices"
	"testing"
)

// TestALargeClusterIsToldSo holds that what is said for the size wins: it is the last word.
func TestALargeClusterIsToldSo(t *testing.T) {
	t.Parallel()
	kwok := Process{Name: "kwok", Args: []string{"--node-lease-duration-seconds=40"}}
	small, large := state{}, state{Options: Options{Large: true}}
	if got := small.sized(kwok); len(got.Args) != 1 || got.Env != nil {
		t.Errorf("a small cluster is told %v, %v", got.Args, got.Env)
	}
	got := large.sized(kwok)
	if short, long := slices.Index(got.Args, "--node-lease-duration-seconds=40"), slices.Index(got.Args, "--node-lease-duration-seconds=7200"); short < 0 || long < short {
		t.Errorf("the leases of a large cluster: %v", got.Args)
	}
	for name := range largeFlags {
		if got := large.sized(Process{Name: name}); len(got.Args) == 0 || len(got.Env) == 0 {
			t.Errorf("%s is told nothing: %+v", name, got)
		}
	}
}
