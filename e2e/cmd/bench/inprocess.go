package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// targets of the units that a benchmark of an admission reports.
var targets = map[string]string{"p99-ms": "< 1"}

// inProcess runs the product's own Go benchmarks, for what needs no cluster, and takes over each number they report.
func (b *bench) inProcess(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchmem", "./webhook/...", "./prepull/...")
	cmd.Dir, cmd.Env = lab.Source("."), gocommand.Env()
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running the Go benchmarks: %w: %s", err, output)
	}
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		b.addBenchmark(lines.Text())
	}
	return nil
}

// addBenchmark reads a line such as "BenchmarkPlan-2  100  123 ns/op  0.2 p99-ms": the name, how often it ran, and pairs
// of a value and a unit. Other lines are not benchmarks.
func (b *bench) addBenchmark(line string) {
	fields := strings.Fields(line)
	if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
		return
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "-")
	for pair := fields[2:]; len(pair) > 1; pair = pair[2:] {
		value, err := strconv.ParseFloat(pair[0], 64)
		if err != nil || pair[1] == "MB/s" {
			continue
		}
		b.add("in process: "+name, value, pair[1], targets[pair[1]])
	}
}
