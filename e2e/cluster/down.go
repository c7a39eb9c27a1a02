package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Down takes the cluster in a folder down and leaves nothing: it tells the supervisor to end, and where that is gone or
// does not end, it does its work. A folder that does not exist or is empty is a cluster that is down.
func Down(ctx context.Context, dir string) error {
	if dir == "" {
		return errors.New("which cluster to take down? Its folder is not given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	s, err := loadState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return fmt.Errorf("the folder %s is not a cluster's: it has no cluster.json, and is left as it is", dir)
		}
		return nil
	}
	if err != nil {
		return err
	}
	// SIGTERM lets the supervisor clean up; after a SIGKILL the kernel does most of it, and the rest follows here.
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for _, pid := range supervisorsOf(dir) {
			_ = syscall.Kill(pid, signal)
		}
		gone := func(context.Context) (bool, error) { return len(supervisorsOf(dir)) == 0, nil }
		if err = poll(ctx, 15*time.Second, 20*time.Millisecond, gone); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("waiting for the supervisor of %s to end: %w", s.Options.Dir, err)
	}
	return removeRemains(dir)
}

// supervisorsOf finds the supervisor by what it was told when it was started: its id alone could by now be another's.
func supervisorsOf(dir string) []int {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	var pids []int
	for _, path := range environments {
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		vars := "\x00" + string(content)
		if strings.Contains(vars, "\x00"+roleEnv+"=supervisor\x00") && strings.Contains(vars, "\x00"+roleArgumentEnv+"="+dir+"\x00") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
