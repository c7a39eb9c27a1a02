// Command image builds the project's container images without a container engine: it cross-compiles a static binary
// for each platform, puts it into a single layer on nothing, and joins the results in one multi-platform index.
// The same source gives the same digest. The Dockerfile builds the same images where an engine is at hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

type options struct {
	target    string
	platforms []v1.Platform
	stamp     stamp
	binaries  string
	output    string
	push      string
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	t := targets[o.target]
	programs, err := compileAll(ctx, t, o.platforms, o.stamp)
	if err != nil {
		return fmt.Errorf("building %s: %w", o.target, err)
	}
	if o.binaries != "" {
		if err := writePrograms(o.binaries, t, programs); err != nil {
			return fmt.Errorf("writing the binaries of %s: %w", o.target, err)
		}
	}
	index, err := assemble(t, programs)
	if err != nil {
		return fmt.Errorf("building %s: %w", o.target, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("computing the digest of %s: %w", o.target, err)
	}
	if o.output != "" {
		if err := writeLayout(o.output, index); err != nil {
			return fmt.Errorf("writing %s: %w", o.output, err)
		}
		fmt.Fprintf(out, "%s@%s\n", o.output, digest)
	}
	if o.push != "" {
		if err := push(ctx, o.push, index); err != nil {
			return fmt.Errorf("pushing %s: %w", o.push, err)
		}
		fmt.Fprintf(out, "%s@%s\n", o.push, digest)
	}
	return nil
}

func parse(args []string) (options, error) {
	var o options
	names := make([]string, 0, len(targets))
	for n := range targets {
		names = append(names, n)
	}
	slices.Sort(names)

	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.target, "target", "kube-prepull", "image to build: "+strings.Join(names, " or "))
	platforms := flags.String("platform", "linux/"+runtime.GOARCH, "platforms to build for, separated by commas")
	flags.StringVar(&o.stamp.version, "version", "", "version that kube-prepull reports; empty leaves it to the source")
	flags.IntVar(&o.stamp.clockSpeed, "clock-speed", 1, "how many times as fast as in production the clocks of kube-prepull are; more than 1 is for tests only")
	flags.StringVar(&o.binaries, "binaries", "", "folder to write the binaries to, one for each platform")
	flags.StringVar(&o.output, "output", "", "folder to write as an OCI image layout")
	flags.StringVar(&o.push, "push", "", "reference to push to, such as registry.example.com/kube-prepull:0.1.0")
	if err := flags.Parse(args); err != nil {
		return o, err
	}

	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if !slices.Contains(names, o.target) {
		return o, fmt.Errorf("unknown -target %q: it is %s", o.target, strings.Join(names, " or "))
	}
	if o.stamp.clockSpeed < 1 {
		return o, fmt.Errorf("-clock-speed %d: it is 1, or more for tests", o.stamp.clockSpeed)
	}
	if o.binaries == "" && o.output == "" && o.push == "" {
		return o, fmt.Errorf("nowhere to put the image: give -output, -push, -binaries or several of them")
	}
	for _, s := range strings.Split(*platforms, ",") {
		p, err := v1.ParsePlatform(s)
		if err != nil {
			return o, fmt.Errorf("parsing -platform: %w", err)
		}
		if p.OS != "linux" || p.Architecture == "" || p.Variant != "" {
			return o, fmt.Errorf("-platform %q: it is linux/<architecture>", s)
		}
		o.platforms = append(o.platforms, *p)
	}
	return o, nil
}

func writeLayout(dir string, index v1.ImageIndex) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index)
}

func push(ctx context.Context, reference string, index v1.ImageIndex) error {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return err
	}
	return remote.WriteIndex(ref, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
}
