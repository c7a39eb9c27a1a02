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
// kill. The function that it returns ends it in good order.
func keepTemporary() (remove func() error, err error) {
	dir, remove, err := keptFolder()
	if err != nil {
		return nil, err
	}
	return remove, os.Setenv("TMPDIR", dir)
}

// keptFolder is a temporary folder with a keeper, which reads the end of its input when this process ends, and removes it:
// once the clusters in it are gone, which remove their own folders.
func keptFolder() (dir string, remove func() error, err error) {
	if dir, err = os.MkdirTemp("", "kpp-"); err != nil {
		return "", nil, err
	}
	const script = `cat; for i in $(seq 60); do ls "$1"/*/cluster.json "$1"/*/*/cluster.json >/dev/null 2>&1 || break; sleep 1; done; rm -rf "$1"`
	keeper := exec.Command("sh", "-c", script, "sh", dir)
	keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what ends the tests does not end it
	input, err := keeper.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	if err := keeper.Start(); err != nil {
		return "", nil, fmt.Errorf("starting the keeper of temporary files: %w", err)
	}
	return dir, func() error {
		_ = input.Close() // it cannot be full
		return keeper.Wait()
	}, nil
}
