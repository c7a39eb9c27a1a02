package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// cniDirs are where distributions install the standard CNI plugins.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// systemPackage is a program that real nodes need and that no Go module brings.
type systemPackage struct {
	name    string // Debian's
	present func() bool
}

var systemPackages = []systemPackage{
	{"runc", inPath("runc")},
	{"nftables", inPath("nft")},
	{"containernetworking-plugins", func() bool { return cniDir() != "" }},
}

func inPath(program string) func() bool {
	return func() bool {
		_, err := exec.LookPath(program)
		return err == nil
	}
}

// cniDir returns the folder with the plugins that the nodes' network uses, or "".
func cniDir() string {
	for _, dir := range cniDirs {
		found := true
		for _, plugin := range []string{"bridge", "host-local", "loopback"} {
			_, err := os.Stat(filepath.Join(dir, plugin))
			found = found && err == nil
		}
		if found {
			return dir
		}
	}
	return ""
}

func missingPackages() []string {
	var names []string
	for _, p := range systemPackages {
		if !p.present() {
			names = append(names, p.name)
		}
	}
	return names
}

// ensurePackages installs what is missing on Debian and its kin; elsewhere the error names the packages.
func ensurePackages(ctx context.Context, progress io.Writer) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("real nodes need these packages, please install them (Debian's names): %s", list)
	}
	fmt.Fprintf(progress, "Installing %s\n", list)
	for _, args := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"}, missing...)} {
		// Another cluster, or a test beside it, may be at it.
		cmd := exec.CommandContext(ctx, "flock", append([]string{"/run/lock/kube-prepull-packages", "apt-get"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Run(); err != nil {
			return errors.Join(fmt.Errorf("installing %s with apt-get: %w", list, err), errors.New(lastLines(output.String(), 10)))
		}
	}
	if still := missingPackages(); len(still) > 0 {
		return fmt.Errorf("real nodes need these packages, which apt-get installed in no known place: %s", strings.Join(still, " "))
	}
	return nil
}
