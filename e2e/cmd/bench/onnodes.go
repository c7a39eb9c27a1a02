package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// onNodes brings up a cluster of real nodes with a registry that has kube-prepull's images, has something measured there, and
// takes all of it down.
func onNodes(ctx context.Context, dir string, nodes []cluster.Node, measure func(context.Context, *bench) error) (results []result, err error) {
	c, err := cluster.Up(ctx, cluster.Options{Dir: dir, Progress: os.Stderr, Nodes: nodes})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Down(context.WithoutCancel(ctx))) }()
	r, err := lab.Serve(c, registry.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := lab.PushProduct(ctx, filepath.Join(dir, "images"), r.Addr()); err != nil {
		return nil, err
	}
	b := &bench{Cluster: c, registry: r}
	if err := images.GoBuild(ctx, lab.Source("e2e/cmd/sleeper"), runtime.GOARCH, b.sleeper()); err != nil {
		return nil, err
	}
	if err := measure(ctx, b); err != nil {
		return nil, err
	}
	return b.results, nil
}

// sleeper is the program that the images on real nodes run.
func (b *bench) sleeper() string { return filepath.Join(b.Dir(), "sleeper") }

// push puts an image with a name into the registry, and returns the whole name. Another seed is another image.
func (b *bench) push(ctx context.Context, name string, size int64, seed uint64) (string, error) {
	description := images.Image{Size: size, Seed: seed, Entrypoint: []string{"/sleeper"}, Binaries: map[string]string{"/sleeper": b.sleeper()}}
	image := b.registry.Addr() + "/" + name
	_, err := description.Push(ctx, image, remote.WithTransport(b.registry.Transport()))
	return image, err
}

// poll asks until something is so.
func (b *bench) poll(ctx context.Context, what string, timeout time.Duration, is func() (bool, error)) error {
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		if done, err := is(); done || err != nil {
			return err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("waited %s for %s", timeout, what)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
