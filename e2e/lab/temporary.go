package lab

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// systemTemporary is for folders with short paths, which clusters need for their sockets. These remove themselves.
var systemTemporary = os.TempDir()

// keepTemporary gives this process a folder for all other temporary ones, which goes when the process ends, even by a
// kill: the keeper of it then reads the end of its input. The function that it returns ends it in good order.
func keepTemporary() (remove func() error, err error) {
	dir, err := os.MkdirTemp("", "kpp-")
	if err != nil {
		return nil, err
	}
	keeper := exec.Command("sh", "-c", `cat; rm -rf "$1"`, "sh", dir)
	keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what ends the tests does not end it
	input, err := keeper.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := keeper.Start(); err != nil {
		return nil, fmt.Errorf("starting the keeper of temporary files: %w", err)
	}
	return func() error {
		_ = input.Close() // it cannot be full
		return keeper.Wait()
	}, os.Setenv("TMPDIR", dir)
}
