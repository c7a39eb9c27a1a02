package bootstrap

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

var (
	//go:embed script.sh
	script string
	//go:embed runtime-ctr.sh
	runtimeCtr string
	//go:embed runtime-crictl.sh
	runtimeCrictl string
)

// timeLimit is how many seconds a script takes at most. A node that waits for it comes up without the rest.
const timeLimit = 900

// bashCtr speaks to containerd itself, which knows images by their full names alone.
func bashCtr(images []workload.Image, o *Output) (string, []string, error) {
	var names []string
	for _, image := range images {
		name, err := workload.CanonicalImage(image.Name)
		if err != nil {
			return "", nil, fmt.Errorf("image %q: %w", image.Name, err)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return bash(runtimeCtr, names, o)
}

// bashCrictl speaks the language of the kubelet, so it names images as pods do.
func bashCrictl(images []workload.Image, o *Output) (string, []string, error) {
	var names []string
	for _, image := range images {
		if err := workload.ValidImage(image.Name); err != nil {
			return "", nil, fmt.Errorf("image %q: %w", image.Name, err)
		}
		names = append(names, image.Name)
	}
	return bash(runtimeCrictl, names, o)
}

func bash(runtime string, names []string, o *Output) (string, []string, error) {
	if len(names) == 0 {
		return "", nil, errors.New("there is no image to pull, so there is no script")
	}
	var lines []string
	for _, name := range names {
		lines = append(lines, "  "+quote(name))
	}
	return strings.NewReplacer(
		"@PARALLEL@", strconv.Itoa(o.parallel),
		"@TIMEOUT@", strconv.Itoa(timeLimit),
		"@IMAGES@", strings.Join(lines, "\n"),
		"@RUNTIME@\n", runtime,
	).Replace(script), nil, nil
}

// quote makes a string one word of a shell, whatever is in it.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
