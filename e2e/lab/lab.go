// Package lab is a cluster with a registry beside it, and kube-prepull of this checkout installed on it: what the demo,
// the tests and the benchmarks have in common.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// Lab is a cluster and the address of its registry.
type Lab struct {
	*cluster.Cluster
	// Registry is host:port, the same for this machine, the nodes and the pods.
	Registry string
	// Control is where the registry is controlled over HTTP.
	Control string
}

// The registry's usual ports. The address is the cluster's own: only a server on all addresses can have taken them.
const registryPort, controlPort = "5000", "5001"

// RegistryCommand is the first argument with which an executable that uses Up must call registry.Run: the registry of
// a detached cluster is a process of its own.
const RegistryCommand = "registry"

// Up brings up a cluster that outlives this process, with a registry of the given bits per second (0: no limit).
func Up(ctx context.Context, o cluster.Options, bandwidth int64) (*Lab, error) {
	o.Detached = true
	c, err := cluster.Up(ctx, o)
	if err != nil {
		return nil, err
	}
	l := &Lab{Cluster: c}
	if err := l.startRegistry(ctx, bandwidth); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the registry: %w", err), c.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// freeAddress has the usual port if that is free, or else any other.
func freeAddress(ip, usual string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, usual))
	if err != nil {
		l, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
	}
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// startRegistry runs this same executable as the registry.
func (l *Lab) startRegistry(ctx context.Context, bandwidth int64) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if l.Registry, err = freeAddress(l.HostIP(), registryPort); err != nil {
		return err
	}
	if l.Control, err = freeAddress(l.HostIP(), controlPort); err != nil {
		return err
	}
	err = l.Run(ctx, cluster.Process{Name: "registry", Path: self, Args: []string{
		RegistryCommand, "-addr=" + l.Registry, "-control=" + l.Control, "-dir=" + l.Dir(), fmt.Sprintf("-bandwidth=%d", bandwidth),
	}})
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// Its own word, not a connection: that could be to somebody else's server.
		log := l.Log("registry")
		if strings.Contains(log, "CONTROL=") {
			return l.TrustRegistry(l.Registry)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("it does not listen; the end of its log:\n%s", log), ctx.Err())
		}
	}
}

// Serve starts a registry in this process for a cluster that is its own, and lets the nodes pull from it.
func Serve(c *cluster.Cluster, o registry.Options) (*registry.Registry, error) {
	o.Dir = c.Dir() // removed with the cluster, even after a kill
	r, err := registry.New(o)
	if err != nil {
		return nil, err
	}
	if err := r.Listen(c.HostIP() + ":0"); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, c.TrustRegistry(r.Addr())
}

// WriteEnv writes a file for shells to source: plain assignments first, for programs that only look for those.
func (l *Lab) WriteEnv(path string) error {
	content := fmt.Sprintf("KUBECONFIG=%s\nREGISTRY=%s\nREGISTRY_CONTROL=%s\nPATH=%s:$PATH\nexport KUBECONFIG REGISTRY REGISTRY_CONTROL PATH\n",
		Quote(l.Kubeconfig()), l.Registry, l.Control, Quote(l.Programs()))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

// Quote leaves plain paths as they are, and makes any other one a single word for a shell.
func Quote(path string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
