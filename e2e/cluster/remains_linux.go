package cluster

import (
	"errors"
	"os"
	"strings"
)

const selfExecutable = "/proc/self/exe"

// removeRemains removes what the kernel does not remove by itself once the processes of a cluster are gone.
func removeRemains(dir string) error {
	hierarchyDirs, err := hierarchies()
	if err != nil {
		return errors.Join(err, removeFolder(dir))
	}
	names := map[string]bool{}
	for _, h := range hierarchyDirs {
		entries, _ := os.ReadDir(h)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), CgroupPrefix(dir)) {
				names[e.Name()] = true
			}
		}
	}
	for name := range names {
		err = errors.Join(err, removeCgroup(name))
	}
	return errors.Join(err, removeFolder(dir))
}
