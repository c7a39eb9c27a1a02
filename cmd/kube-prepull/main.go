// kube-prepull is the manager: it serves the webhook, learns images and keeps the prepull DaemonSets.
//
//	kube-prepull [--config FILE] [--namespace NAME]   run
//	kube-prepull cleanup [--namespace NAME] [--node-condition] [--taint KEY]
//	                                                  stop the managers, delete what they made, and what they wrote on nodes
//	kube-prepull check [--config FILE] [--namespace NAME]
//	                                                  see whether webhook and metrics answer, from inside the cluster
//	kube-prepull version                              print the version
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	// The image has no file beside the binary: these authorities hold where the system brings none.
	_ "golang.org/x/crypto/x509roots/fallback"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
)

// version is set with -ldflags "-X main.version=v1.2.3". For tests, "-X main.clockSpeed=4" makes all of clock.Clocks 4
// times as fast, and admissions 4 times as patient.
var (
	version    = "dev"
	clockSpeed = "1"
)

// maxClockSpeed leaves milliseconds of the shortest clock.
const maxClockSpeed = 100

func main() {
	leaveRoom()
	if err := command(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("kube-prepull failed", "error", err.Error())
		os.Exit(1)
	}
}

// command does what the arguments say.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	speed, err := parseClockSpeed(clockSpeed)
	if err != nil {
		return err
	}
	o, err := parseOptions(name, args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	switch name {
	case "":
		return run(ctx, o, speed)
	case "cleanup":
		return cleanup(ctx, o.cleanup)
	case "check":
		return check(ctx, o, stdout)
	case "version":
		_, err := fmt.Fprintln(stdout, build(version, speed))
		return err
	}
	return fmt.Errorf("unknown command %q, want none, cleanup, check or version", name)
}

// parseClockSpeed reads what was linked.
func parseClockSpeed(s string) (int, error) {
	speed, err := strconv.Atoi(s)
	if err != nil || speed < 1 || speed > maxClockSpeed {
		return 0, fmt.Errorf("built with -X main.clockSpeed=%s: want a whole number from 1 to %d", s, maxClockSpeed)
	}
	return speed, nil
}

// build names what runs: the version alone, unless it is no build for production.
func build(version string, speed int) string {
	if speed == 1 {
		return version
	}
	return fmt.Sprintf("%s (clocks %d times as fast, for tests)", version, speed)
}

// options of the command line.
type options struct {
	// config is the path of the configuration file.
	config string
	// namespace is where the manager runs and the DaemonSets live.
	namespace string
	// cleanup is what to remove.
	cleanup uninstall.Options
}

func parseOptions(name string, args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet(strings.TrimSpace("kube-prepull "+name), flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.config, "config", "/etc/kube-prepull/config.yaml", "path of the configuration `file`")
	flags.StringVar(&o.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "`name` of the namespace that the manager runs in (default $POD_NAMESPACE)")
	if name == "cleanup" {
		flags.BoolVar(&o.cleanup.Condition, "node-condition", false, "take the condition "+v1alpha1.ConditionImagesReady+" from all nodes")
		flags.StringVar(&o.cleanup.TaintKey, "taint", "", "take the taint with this `key` from all nodes")
	}
	config.RegisterFlags(flags)
	if err := flags.Parse(args); err != nil {
		return options{}, fmt.Errorf("parsing flags: %w", err)
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.namespace == "" && (name == "" || name == "cleanup" || name == "check") {
		return options{}, errors.New("no namespace: set --namespace or POD_NAMESPACE")
	}
	o.cleanup.Namespace = o.namespace
	return o, nil
}
