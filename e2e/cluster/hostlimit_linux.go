package cluster

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// A node takes about nine inotify instances and a control plane as many; Linux gives a user 128 of them unless it is
// told otherwise, and no more than it gives the host to what runs in namespaces.
const (
	inotifyLimit = "fs/inotify/max_user_instances"
	minInotify   = 1024
)

// raiseInotifyLimit raises the host's limit if it is too low for some clusters at a time. It stays raised: others may
// depend on it by the time this cluster goes.
func raiseInotifyLimit() error {
	content, err := os.ReadFile("/proc/sys/" + inotifyLimit)
	if err != nil {
		return fmt.Errorf("reading the limit of inotify instances: %w", err)
	}
	if limit, err := strconv.Atoi(string(bytes.TrimSpace(content))); err == nil && limit >= minInotify {
		return nil
	}
	return setSysctls(fmt.Sprintf("%s=%d", inotifyLimit, minInotify))
}
