package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// Version is what the images of this checkout are tagged with in the lab.
const Version = "lab"

// root is the checkout, seen from this package: the lab builds what it installs.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// PushProduct builds the images of this checkout and pushes them to a registry.
func PushProduct(ctx context.Context, registry string) error {
	for _, target := range []string{"kube-prepull", "kube-prepull-noop"} {
		cmd := exec.CommandContext(ctx, "go", "run", "./deploy/image",
			"--target", target, "--platform", "linux/"+runtime.GOARCH, "--version", Version, "--push", registry+"/"+target+":"+Version)
		cmd.Dir = root()
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building and pushing %s: %w: %s", target, err, output)
		}
	}
	return nil
}

// Install installs or upgrades the chart of this checkout, with the images from a registry, and waits until it is ready.
// More arguments go to helm.
func Install(ctx context.Context, c *cluster.Cluster, registry string, args ...string) error {
	// The namespace enforces Pod Security restricted.
	if _, err := c.Kubectl(ctx, "apply", "-f", Source("deploy/namespace.yaml")); err != nil {
		return err
	}
	return Helm(ctx, c, append([]string{
		"upgrade", "--install", "kube-prepull", filepath.Join(root(), "deploy", "chart"),
		"--namespace", "kube-prepull", "--wait", "--timeout", "3m",
		"--set", "image.repository=" + registry + "/kube-prepull", "--set", "image.tag=" + Version,
		"--set", "noop.image.repository=" + registry + "/kube-prepull-noop", "--set", "noop.image.tag=" + Version,
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
