//go:build !linux

package cluster

import (
	"errors"
	"os"
)

var selfExecutable, _ = os.Executable()

var errLinux = errors.New("real nodes need Linux")

// Real nodes are a matter of Linux: elsewhere only the control plane runs.
type (
	fabric   struct{ slot int }
	nodeHost struct{ init *running }
)

func newFabric() (*fabric, error)              { return nil, errLinux }
func (*fabric) close()                         {}
func (*supervisor) addNode(Node) error         { return errLinux }
func (*supervisor) startNode(*nodeHost) error  { return errLinux }
func (*supervisor) stopNode(*nodeHost) error   { return errLinux }
func (*supervisor) removeNode(*nodeHost) error { return errLinux }
func nodeMain(string) error                    { return errLinux }
func removeRemains(dir string) error           { return removeFolder(dir) }
