package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupV2 is true on hosts with the unified hierarchy alone.
func cgroupV2() bool {
	_, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers"))
	return err == nil
}

// hierarchies are the folders that a cgroup has to be made below: one with cgroup v2, one for each controller with v1.
func hierarchies() ([]string, error) {
	if cgroupV2() {
		return []string{cgroupMount}, nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(before); len(fields) > 4 && strings.HasPrefix(after, "cgroup") && strings.HasPrefix(fields[4], cgroupMount) {
			dirs = append(dirs, fields[4])
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("no cgroups are mounted below " + cgroupMount)
	}
	return dirs, nil
}

// createCgroup makes the root cgroup of a node, in which its kubelet makes those of the pods.
func createCgroup(name string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		cgroup := filepath.Join(dir, name)
		if err := os.Mkdir(cgroup, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making cgroup %s: %w", cgroup, err)
		}
		if err := prepareCgroup(dir, cgroup); err != nil {
			return fmt.Errorf("preparing cgroup %s: %w", cgroup, err)
		}
	}
	return nil
}

func prepareCgroup(dir, cgroup string) error {
	if cgroupV2() {
		for _, parent := range []string{dir, cgroup} {
			if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+cpu +cpuset +memory +pids +io"), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	// A v1 cpuset accepts processes only once it has processors and memory nodes.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(cgroup, file), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroup removes a cgroup and all below it; its processes have been killed, and may take a moment to be gone.
func removeCgroup(name string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var last error
		for _, dir := range dirs {
			if err := removeCgroupTree(filepath.Join(dir, name)); err != nil {
				last = err
			}
		}
		if last == nil || time.Now().After(deadline) {
			return last
		}
	}
}

func removeCgroupTree(root string) error {
	var cgroups []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			cgroups = append(cgroups, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, cgroup := range slices.Backward(cgroups) {
		if err := os.Remove(cgroup); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
