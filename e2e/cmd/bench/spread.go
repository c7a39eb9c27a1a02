package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

const (
	// spreadImages is how long the list is.
	spreadImages = 50

	// What a kubelet takes for an init container whose image is there, and for fifty image volumes that are.
	fakeInitContainer = time.Second
	fakeImageVolumes  = 900 * time.Millisecond

	spreadTimeout = 30 * time.Minute

	// progressPace is how often it is told how far a long wait is.
	progressPace = 20 * time.Second
)

// ways are how images are held, image volumes first.
var ways = []struct{ words, setting string }{
	{"held as image volumes", "config.imageVolumes=true"}, {"init containers alone", "config.imageVolumes=false"},
}

// spread measures how long one new image takes to all of many nodes that have a list of fifty, in both ways to hold images, and
// what everybody writes for it.
func spread(ctx context.Context, dir string, nodes int) (results []result, err error) {
	measure := ways
	if nodes > maxSmall {
		measure = ways[:1] // init containers alone would take an hour
	}
	for _, way := range measure {
		measured, err := spreadOnce(ctx, filepath.Join(dir, way.setting), nodes, way.words, way.setting)
		if err != nil {
			return nil, err
		}
		results = append(results, measured...)
	}
	if len(measure) == 1 {
		return results, nil
	}
	n := len(results) / 2
	ratio := result{fmt.Sprintf("one new image on %d nodes: init containers alone, times as long", nodes), results[n].Value / results[0].Value, "times", ""}
	return append(results, ratio), nil
}

// spreadFirst is how many nodes bring the list. The others join then, and take it at once: a list that many nodes bring comes to
// them in waves.
const spreadFirst = 20

func spreadOnce(ctx context.Context, dir string, nodes int, words, setting string) (results []result, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	fakes := cluster.FakeNodes{
		Count: min(nodes, spreadFirst), InitContainer: fakeInitContainer, ImageVolumes: fakeImageVolumes,
		NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.37.0", ContainerRuntimeVersion: "containerd://2.4.0"},
	}
	b, err := up(ctx, dir, nodes > maxSmall, fakes, nil, "--set", setting)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Down(context.WithoutCancel(ctx))) }()
	if err := b.namespace(ctx, "spread"); err != nil {
		return nil, err
	}
	for i := range spreadImages - 1 {
		if err := b.deploy(ctx, "spread", fmt.Sprint("listed-", i), fmt.Sprintf("bench.invalid/listed-%d:v1", i)); err != nil {
			return nil, err
		}
	}
	if err := b.waitEverywhere(ctx, fakes.Count, spreadImages-1); err != nil {
		return nil, err
	}
	if setting == ways[0].setting {
		if err := b.waitHeld(ctx, spreadImages-1); err != nil {
			return nil, err
		}
	}
	fakes.Prefix, fakes.Taints, fakes.Count = "joined-", []corev1.Taint{fakeTaint}, nodes-fakes.Count
	if err := b.AddFakeNodes(ctx, fakes); err != nil {
		return nil, err
	}
	if err := b.waitEverywhere(ctx, nodes, spreadImages-1); err != nil {
		return nil, err
	}
	err = b.spreadOne(ctx, nodes, words, spreadTarget(setting, nodes))
	return b.results, err
}

// spreadTarget is how long a change may take, in seconds.
func spreadTarget(setting string, nodes int) string {
	switch {
	case setting != ways[0].setting:
		return ""
	case nodes <= 200:
		return "< 30"
	default:
		return "< 480"
	}
}

// spreadOne measures one more image.
func (b *bench) spreadOne(ctx context.Context, nodes int, words, target string) error {
	writes := b.writes()
	bytes, err := b.etcdBytes(ctx)
	if err != nil {
		return err
	}
	burnt, err := cluster.Burnt(b.Dir())
	if err != nil {
		return err
	}
	start := time.Now()
	if err := b.deploy(ctx, "spread", "new", "bench.invalid/new:v1"); err != nil {
		return err
	}
	if err := b.waitEverywhere(ctx, nodes, spreadImages); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := b.etcdBytes(ctx)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("one new image on %d nodes, list of %d, %s", nodes, spreadImages, words)
	b.add(name, took.Seconds(), "s", target)
	b.add(name+": API writes by everybody, for each node", float64(b.writes()-writes)/float64(nodes), "writes", "")
	b.add(name+": bytes written to etcd, for each node", (after-bytes)/1024/float64(nodes), "KiB", "")
	return b.addBurnt(name, burnt, took)
}

// addBurnt adds what programs have used of the machine's processors since then: whether they, and not kube-prepull, set the pace.
func (b *bench) addBurnt(name string, before map[string]time.Duration, took time.Duration) error {
	after, err := cluster.Burnt(b.Dir())
	if err != nil {
		return err
	}
	for _, program := range slices.Sorted(maps.Keys(after)) {
		if used := after[program] - before[program]; used > took/100 {
			b.add(name+": processors used by "+program, used.Seconds(), "CPU s", "")
		}
	}
	return nil
}

// waitEverywhere returns when all of so many images are on all nodes.
func (b *bench) waitEverywhere(ctx context.Context, nodes, count int) error {
	want, start, told := fmt.Sprintf("%[1]d/%[1]d", nodes), time.Now(), time.Now()
	there, last := 0, ""
	for time.Since(start) < spreadTimeout && ctx.Err() == nil {
		known, err := b.prepullImages(ctx)
		if err != nil {
			return err
		}
		there = 0
		for _, o := range known {
			status, _ := o.Object["status"].(map[string]any)
			if status["ready"] == want {
				there++
			} else {
				last = fmt.Sprint(status["ready"])
			}
		}
		if there == count {
			return nil
		}
		if time.Since(told) > progressPace {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "  after %s %d of %d images are on all nodes, another one on %s\n", time.Since(start).Round(time.Second), there, count, last)
		}
		time.Sleep(200 * time.Millisecond)
	}
	return errors.Join(ctx.Err(), fmt.Errorf("%d of %d images are on all %d nodes; the end of the manager's log:\n%s", there, count, nodes, b.Log("manager")))
}

// etcdBytes is how much etcd has written to its log since it started.
func (b *bench) etcdBytes(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.EtcdURL()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading etcd's metrics: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	return lab.SumOfSeries(body, "etcd_disk_wal_write_bytes_total ")
}
