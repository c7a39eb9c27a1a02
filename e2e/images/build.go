package images

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
)

// GoBuild compiles the Go command in a directory to a static linux binary for an architecture, ready for
// Image.Binaries.
func GoBuild(ctx context.Context, dir, arch, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(gocommand.Env(), "GOOS=linux", "GOARCH="+arch)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling %s for %s: %w: %s", dir, arch, err, output)
	}
	return nil
}
