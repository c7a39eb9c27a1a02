package cluster

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// state is what the cluster's folder tells about it, in cluster.json. It is written twice: by Up before the supervisor
// starts, so that Down can always find its way, and by the supervisor when the cluster is up.
type state struct {
	Options  Options
	Binaries string
	// Minor is the minor version of Kubernetes in Binaries.
	Minor int
	// Control is the address of the supervisor's API; Token opens it.
	Control, Token string
	// Slot tells the cluster's addresses and names apart from those of others on this machine.
	Slot      int
	HostIP    string
	APIServer string
	Etcd      string
}

func (s *state) path(elem ...string) string {
	return filepath.Join(append([]string{s.Options.Dir}, elem...)...)
}

func (s *state) kubeconfig() string { return s.path("kubeconfig") }

func (s *state) program(name string) string { return filepath.Join(s.Binaries, name) }

// save replaces the file in one step, so that a reader never sees half of it.
func (s *state) save() error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("cluster.json.new"), content, 0o600); err != nil {
		return fmt.Errorf("writing the cluster's state: %w", err)
	}
	return os.Rename(s.path("cluster.json.new"), s.path("cluster.json"))
}

func loadState(dir string) (*state, error) {
	content, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's state: %w", err)
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("reading the cluster's state: %w", err)
	}
	return &s, nil
}

// removeFolder removes the cluster's folder, cluster.json last: after an interruption Down still finds its way.
func removeFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() == "cluster.json" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// CgroupPrefix is how the names of the cgroups of the cluster in a folder begin, and of no other cluster's.
func CgroupPrefix(dir string) string {
	return fmt.Sprintf("kube-prepull-test-%x-", sha256.Sum256([]byte(dir)))[:26] + "-"
}
