// Package gocommand runs the go command, each time with the same settings and saying how far it is.
package gocommand

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Env is this process' environment with the settings that everything here is compiled with, the Makefile's: with one of
// them different, Go's cache has nothing of what was compiled before.
func Env() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-trimpath -buildvcs=false")
}

// Run runs the go command in dir, with -v among its arguments, and tells progress every ten seconds how many packages of
// about so many (0: unknown) have been compiled. More variables, as NAME=value, win over those of Env.
func Run(ctx context.Context, dir string, progress io.Writer, about int, args []string, env ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(Env(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running the go command (Go must be installed): %w", err)
	}
	var compiled atomic.Int64
	start, done := time.Now(), make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { tellProgress(progress, &compiled, about, start, done) })
	said := readBuildOutput(output, func() { compiled.Add(1) })
	err = cmd.Wait()
	close(done)
	telling.Wait()
	if err != nil {
		return errors.Join(err, ctx.Err(), errors.New(said))
	}
	fmt.Fprintf(progress, "  %d packages compiled in %s\n", compiled.Load(), time.Since(start).Round(time.Second))
	return nil
}

// readBuildOutput calls compiled for each package that go build -v names, and keeps everything else.
func readBuildOutput(r io.Reader, compiled func()) string {
	var said bytes.Buffer
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if !strings.ContainsAny(line, " :") {
			compiled()
			continue
		}
		if !strings.HasPrefix(line, "go: downloading") && said.Len() < 8<<10 {
			said.WriteString(line + "\n")
		}
	}
	return said.String()
}

func tellProgress(w io.Writer, compiled *atomic.Int64, about int, start time.Time, done <-chan struct{}) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			fmt.Fprintf(w, "  %s compiled, %s\n", packages(compiled.Load(), about), time.Since(start).Round(time.Second))
		}
	}
}

func packages(compiled int64, about int) string {
	if about == 0 {
		return fmt.Sprintf("%d packages", compiled)
	}
	return fmt.Sprintf("%d of about %d packages", compiled, about)
}
