package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Burnt is the processor time that each program of the cluster in a folder has used since it started, on all nodes
// together, by the program's name. What has ended counts for the process that waited for it: runc for its shim. It
// reads Linux' /proc.
func Burnt(dir string) (map[string]time.Duration, error) {
	// Processes know the folder by its real path.
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	roots := supervisorsOf(dir)
	if len(roots) == 0 {
		return nil, fmt.Errorf("no cluster runs in %s", dir)
	}
	children, used := map[int][]int{}, map[int]time.Duration{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, burnt, err := parseStat(string(content))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		children[parent] = append(children[parent], pid)
		used[pid] = burnt
	}
	programs := map[string]time.Duration{}
	for pids := roots; len(pids) > 0; pids = append(pids[1:], children[pids[0]]...) {
		programs[programOf(pids[0])] += used[pids[0]]
	}
	return programs, nil
}

// programOf is the name of a process' program. The kernel's own is cut off after 15 letters.
func programOf(pid int) string {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	path, _, _ := strings.Cut(string(content), "\x00")
	switch path {
	case "":
		return "(ended)"
	case selfExecutable:
		return "supervisor"
	}
	return filepath.Base(path)
}

// tick is the unit of times in /proc: the same on every Linux, whatever its kernel's.
const tick = 10 * time.Millisecond

// parseStat reads a process' parent, and the time that it and the ended children it waited for have used, from
// /proc/<pid>/stat.
func parseStat(stat string) (parent int, used time.Duration, err error) {
	// The second field is a name in brackets, which may hold anything.
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("it has %d fields", len(fields))
	}
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return 0, 0, err
	}
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return 0, 0, err
		}
		used += time.Duration(ticks) * tick
	}
	return parent, used, nil
}
