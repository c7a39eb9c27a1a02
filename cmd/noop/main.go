// Command noop is all of kube-prepull that runs on nodes. A prepull pod needs a program that exists in every image, also
// in one without a shell, so its first init container installs this one and the others run the copy.
//
//	noop              exits 0
//	noop install DIR  copies itself to DIR/noop
//	noop wait         waits for SIGTERM or SIGINT, then exits 0
package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const usage = "usage: noop [install DIR | wait]\n"

// main avoids fmt, which would double the size of what every node pulls.
func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 0:
	case len(args) == 2 && args[0] == "install":
		if err := install(args[1]); err != nil {
			fail("noop: installing: "+err.Error()+"\n", 1)
		}
	case len(args) == 1 && args[0] == "wait":
		wait()
	default:
		fail(usage, 2)
	}
}

func fail(message string, code int) {
	_, _ = os.Stderr.WriteString(message)
	os.Exit(code)
}

// install renames a finished copy into place, so that nobody ever runs half of it.
func install(dir string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	source, err := os.Open(self)
	if err != nil {
		return err
	}
	defer source.Close()
	temp, err := os.CreateTemp(dir, ".noop-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = io.Copy(temp, source)
	if err = errors.Join(err, temp.Chmod(0o555), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), filepath.Join(dir, "noop"))
}

// wait handles the signals itself: as the first process of a container it has no default action for them.
func wait() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
}
