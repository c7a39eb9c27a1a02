package main

import "runtime/debug"

// leaveRoom keeps what Go uses below seven tenths of GOMEMLIMIT, by collecting garbage more often. The chart sets that to the limit
// of the container, in which the program itself and what the kernel keeps for it count as well, and a burst has to fit.
func leaveRoom() { debug.SetMemoryLimit(debug.SetMemoryLimit(-1) / 10 * 7) }
