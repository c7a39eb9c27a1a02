//go:build !linux

package cluster

import "os/exec"

// dieWithParent has no equivalent here: after a kill of the supervisor, its processes must be ended by hand.
func dieWithParent(*exec.Cmd) {}
