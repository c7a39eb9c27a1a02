package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
)

// Version is what the images of this checkout are tagged with in the lab.
const Version = "lab"

// root is the checkout, found from the folder in which this runs: the lab builds what it installs.
var root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "deploy", "chart", "Chart.yaml")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		panic("run this in the checkout of kube-prepull: what it installs is built from there")
	}
})

// targets are the images of kube-prepull.
var targets = []string{"kube-prepull", "kube-prepull-noop"}

// Compile compiles what Build links, and says how far it is.
func Compile(ctx context.Context, progress io.Writer) error {
	fmt.Fprintln(progress, "Compiling kube-prepull")
	args := []string{"list", "-v", "-export", "-f", "", "./cmd/...", "./deploy/image"}
	if err := gocommand.Run(ctx, root(), progress, 0, args); err != nil {
		return fmt.Errorf("compiling kube-prepull: %w", err)
	}
	return nil
}

// PushProduct builds the images of this checkout in a folder, and pushes them to a registry.
func PushProduct(ctx context.Context, dir, registry string) error {
	if err := Build(ctx, dir, Version, 1); err != nil {
		return err
	}
	return Push(ctx, dir, registry, Version)
}

// Build builds the images of this checkout, which report a version, into a folder, once for any number of registries. The
// manager's clocks are so many times as fast as in production: 1 is what is shipped.
func Build(ctx context.Context, dir, version string, clockSpeed int) error {
	for _, target := range targets {
		cmd := exec.CommandContext(ctx, "go", "run", "./deploy/image",
			"--target", target, "--platform", "linux/"+runtime.GOARCH, "--version", version, "--clock-speed", strconv.Itoa(clockSpeed), "--output", filepath.Join(dir, target))
		cmd.Dir, cmd.Env = root(), gocommand.Env()
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w: %s", target, err, output)
		}
	}
	return nil
}

// Push pushes what Build has built to a registry, under a tag.
func Push(ctx context.Context, dir, registry, tag string) error {
	for _, target := range targets {
		to, err := name.ParseReference(registry+"/"+target+":"+tag, name.Insecure)
		if err != nil {
			return fmt.Errorf("parsing the reference: %w", err)
		}
		built, err := layout.ImageIndexFromPath(filepath.Join(dir, target))
		if err != nil {
			return fmt.Errorf("reading %s: %w", target, err)
		}
		manifest, err := built.IndexManifest()
		if err != nil {
			return fmt.Errorf("reading %s: %w", target, err)
		}
		index, err := built.ImageIndex(manifest.Manifests[0].Digest)
		if err != nil {
			return fmt.Errorf("reading %s: %w", target, err)
		}
		if err := remote.WriteIndex(to, index, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("pushing %s: %w", target, err)
		}
	}
	return nil
}

// Install installs or upgrades the chart of this checkout, with the images from a registry, and waits until it is ready.
// More arguments go to helm.
func Install(ctx context.Context, c *cluster.Cluster, registry string, args ...string) error {
	return installChart(ctx, c, Source("deploy/chart"), registry, Version, args...)
}

func installChart(ctx context.Context, c *cluster.Cluster, chart, registry, tag string, args ...string) error {
	// The namespace enforces Pod Security restricted.
	if _, err := c.Kubectl(ctx, "apply", "-f", Source("deploy/namespace.yaml")); err != nil {
		return err
	}
	return Helm(ctx, c, append([]string{
		"upgrade", "--install", "kube-prepull", chart,
		"--namespace", "kube-prepull", "--wait", "--timeout", "3m",
		"--set", "image.repository=" + registry + "/kube-prepull", "--set", "image.tag=" + tag,
		"--set", "noop.image.repository=" + registry + "/kube-prepull-noop", "--set", "noop.image.tag=" + tag,
	}, args...)...)
}

// Uninstall removes the release.
func Uninstall(ctx context.Context, c *cluster.Cluster) error {
	return Helm(ctx, c, "uninstall", "kube-prepull", "--namespace", "kube-prepull", "--wait", "--timeout", "3m")
}

// Helm runs helm as the administrator of the cluster.
func Helm(ctx context.Context, c *cluster.Cluster, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.Programs(), "helm"), args...)
	// Helm's own state stays in the cluster's folder.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HELM_CACHE_HOME="+c.Dir()+"/helm", "HELM_CONFIG_HOME="+c.Dir()+"/helm", "HELM_DATA_HOME="+c.Dir()+"/helm")
	if output, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("helm %s: %w", args[0], err), errors.New(string(output)))
	}
	return nil
}

// Source is the path of a folder of this checkout.
func Source(path string) string { return filepath.Join(root(), path) }
