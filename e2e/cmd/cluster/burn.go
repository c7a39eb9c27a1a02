package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// burn prints what each program has used so far, and what it uses a minute from now on.
func burn(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("burn", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the cluster's state")
	window := flags.Duration("for", time.Minute, "how long to watch")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *window <= 0 {
		return errors.New("--for must be longer than nothing")
	}
	before, err := cluster.Burnt(*dir)
	if err != nil {
		return err
	}
	start := time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(*window):
	}
	after, err := cluster.Burnt(*dir)
	if err != nil {
		return err
	}
	return writeBurn(os.Stdout, before, after, time.Since(start))
}

// writeBurn has what burnt most until now first.
func writeBurn(w io.Writer, before, after map[string]time.Duration, window time.Duration) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "CPU seconds\tuntil now\ta minute at present\t")
	var total, rate float64
	names := slices.SortedFunc(maps.Keys(after), func(a, b string) int {
		return cmp.Or(cmp.Compare(before[b], before[a]), cmp.Compare(a, b))
	})
	for _, name := range names {
		perMinute := (after[name] - before[name]).Seconds() / window.Minutes()
		total, rate = total+before[name].Seconds(), rate+perMinute
		fmt.Fprintf(out, "%s\t%.2f\t%.2f\t\n", name, before[name].Seconds(), perMinute)
	}
	fmt.Fprintf(out, "total\t%.2f\t%.2f\t\n", total, rate)
	return out.Flush()
}
