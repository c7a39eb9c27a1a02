// Command bench measures what the manager costs a cluster, on a real API server with the shipped chart, the manager a process
// of this machine behind its Service, and nodes of KWOK; and what pods wait for on real nodes. It prints a table and writes
// the same as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// result is one line of the table.
type result struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target string  `json:"target,omitempty"`
}

// bench is the cluster that is measured.
type bench struct {
	*cluster.Cluster
	registry    *registry.Registry // of real nodes
	scrapeToken string
	deployments int
	results     []result
}

func (b *bench) add(name string, value float64, unit, target string) {
	b.results = append(b.results, result{name, value, unit, target})
	fmt.Fprintf(os.Stderr, "  %s: %.2f %s\n", name, value, unit)
}

func run(ctx context.Context) (err error) {
	out := flag.String("out", "bench.json", "file for the results")
	nodes := flag.Int("fake-nodes", 500, "nodes that KWOK runs")
	deployments := flag.Int("deployments", 1000, "Deployments in the burst, each with an image of its own")
	spreadNodes := flag.Int("spread-nodes", 200, "nodes that KWOK runs where a change of the list is measured")
	fleetNodes := flag.Int("fleet-nodes", 10_000, "nodes that KWOK runs where the manager's memory is measured with many")
	fleetImages := flag.Int("fleet-images", 5_000, "images that are in use there")
	only := flag.String("only", "", "measure this part alone: manager, live-pod, new-node, lanes, long-list, change, spread, collect or fleet, which is measured only if it is named")
	flag.Parse()

	dir, err := os.MkdirTemp("", "kpp-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	manager := func(ctx context.Context, dir string) ([]result, error) {
		return manyNodes(ctx, dir, *nodes, *deployments)
	}
	manyChange := func(ctx context.Context, dir string) ([]result, error) {
		return spread(ctx, dir, *spreadNodes)
	}
	manyAtRest := func(ctx context.Context, dir string) ([]result, error) {
		return fleet(ctx, dir, *fleetNodes, *fleetImages)
	}
	parts := []part{
		{"manager", manager}, {"live-pod", livePod}, {"new-node", newNode}, {"lanes", lanes}, {"long-list", longListJoin}, {"change", change}, {"spread", manyChange}, {"collect", collect},
	}
	if *only == "fleet" { // a quarter of an hour, and ten gigabytes
		parts = []part{{"fleet", manyAtRest}}
	}
	results, err := measureParts(ctx, dir, *only, parts)
	if err != nil {
		return err
	}
	printTable(results)
	content, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, content, 0o644)
}

// part is what is measured in a cluster of its own, in a folder.
type part struct {
	name    string
	measure func(ctx context.Context, dir string) ([]result, error)
}

// measureParts measures one part after the other, or one alone.
func measureParts(ctx context.Context, dir, only string, parts []part) ([]result, error) {
	var results []result
	for _, p := range parts {
		if only != "" && only != p.name {
			continue
		}
		measured, err := p.measure(ctx, filepath.Join(dir, p.name))
		if err != nil {
			return nil, fmt.Errorf("measuring %s: %w", p.name, err)
		}
		results = append(results, measured...)
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("there is no part %q", only)
	}
	return results, nil
}

// manyNodes measures the manager in a cluster of fake nodes.
func manyNodes(ctx context.Context, dir string, nodes, deployments int) (results []result, err error) {
	b, err := up(ctx, dir, nodes > maxSmall, cluster.FakeNodes{Count: nodes}, []string{"system:serviceaccount:kube-prepull:kube-prepull"}, "--set", "config.resyncInterval=20s")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Down(context.WithoutCancel(ctx))) }()
	b.deployments = deployments
	for _, measure := range []func(context.Context) error{b.inProcess, b.rewrite, b.oneAfterTheOther, b.burst, b.steady, b.memoryOfFew, b.shapes} {
		if err := measure(ctx); err != nil {
			return nil, err
		}
	}
	return b.results, nil
}

func printTable(results []result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tUNIT\tTARGET")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%.2f\t%s\t%s\n", r.Name, r.Value, r.Unit, r.Target)
	}
	w.Flush()
}

// auditPolicy records what some users wrote, or everybody where it names none, and nothing of the contents.
func auditPolicy(users ...string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": []string{"RequestReceived"},
		"rules": []map[string]any{
			{"level": "Metadata", "users": users, "verbs": []string{"create", "update", "patch", "delete"}},
			{"level": "None"},
		},
	})
}

// maxSmall is up to how many nodes a control plane does that is set up for few.
const maxSmall = 500

// up starts a cluster of fake nodes whose API server records what some users write.
func up(ctx context.Context, dir string, large bool, fakes cluster.FakeNodes, writers []string, settings ...string) (*bench, error) {
	policy := dir + "-audit-policy.json"
	content, err := auditPolicy(writers...)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(policy, content, 0o644); err != nil {
		return nil, err
	}
	c, err := cluster.Up(ctx, cluster.Options{
		Dir: dir, Progress: os.Stderr, Large: large,
		APIServerFlags: []string{"--audit-policy-file=" + policy, "--audit-log-path=" + dir + "/logs/audit.log"},
	})
	if err != nil {
		return nil, err
	}
	b := &bench{Cluster: c}
	if err := b.install(ctx, fakes, settings...); err != nil {
		return nil, errors.Join(err, c.Down(context.WithoutCancel(ctx)))
	}
	return b, nil
}
