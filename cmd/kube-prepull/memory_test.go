package main

import (
	"math"
	"runtime/debug"
	"testing"
)

// The limit is the process' own, so no other test may run beside this one.
func TestPartOfTheContainersLimitIsNotForTheHeap(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for limit, want := range map[int64]int64{256 << 20: 187904815, math.MaxInt64: math.MaxInt64 / 10 * 7} {
		debug.SetMemoryLimit(limit)
		leaveRoom()
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("with a limit of %d the heap has %d, want %d", limit, got, want)
		}
	}
}
