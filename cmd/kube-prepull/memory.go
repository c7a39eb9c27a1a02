package main

import "runtime/debug"

// leaveRoom keeps what Go uses below nine tenths of GOMEMLIMIT. The chart sets that to the limit of the container, in which the
// program itself and what the kernel keeps for it count as well.
func leaveRoom() { debug.SetMemoryLimit(debug.SetMemoryLimit(-1) / 10 * 9) }
