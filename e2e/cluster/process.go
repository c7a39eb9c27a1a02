package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// Process is a program that runs beside the cluster and ends with it.
type Process struct {
	// Name of the process: its log is logs/<name>.log in the cluster's folder.
	Name string `json:"name"`
	// Path of the executable.
	Path string `json:"path"`
	// Args are the arguments, without the name of the program.
	Args []string `json:"args,omitempty"`
	// Env is added to a minimal environment, as NAME=value.
	Env []string `json:"env,omitempty"`
}

// running is a started process.
type running struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// starter starts processes that die when this process dies, however it dies: the kernel ends a child when the thread
// that made it is gone, so all are made by one thread that stays.
type starter struct {
	logs string
	work chan func()
	once sync.Once
}

func (s *starter) start(name string, cmd *exec.Cmd) (*running, error) {
	s.once.Do(func() {
		s.work = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range s.work {
				f()
			}
		}()
	})
	log := filepath.Join(s.logs, name+".log")
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	dieWithParent(cmd)
	started := make(chan error)
	s.work <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &running{name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *running) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// failure is nil while the process runs; afterwards it says how it ended and shows the end of its log.
func (p *running) failure() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v); the end of its log %s:\n%s", p.name, p.err, p.log, tailOf(p.log))
	default:
		return nil
	}
}

// garbageCollection lets heaps grow to five times what lives in them instead of twice: memory is cheaper here than
// processors. Above two gigabytes it is as dear.
var garbageCollection = []string{"GOGC=400", "GOMEMLIMIT=2GiB"}

// command is an exec.Cmd with an environment that does not depend on who runs it.
func command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "LANG=C.UTF-8"}
	cmd.Env = append(cmd.Env, garbageCollection...)
	return cmd
}

func tailOf(log string) string {
	content, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(content), 15)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
