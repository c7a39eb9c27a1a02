package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
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

	// maxBothWays is up to how many nodes init containers alone are measured, too: with more it takes an hour.
	maxBothWays = 500
)

// ways are how images are held, image volumes first.
var ways = []struct{ words, setting string }{
	{"held as image volumes", "config.imageVolumes=true"}, {"init containers alone", "config.imageVolumes=false"},
}

// spread measures how long one new image takes to all of many nodes that have a list of fifty, in both ways to hold images, and
// what everybody writes for it.
func spread(ctx context.Context, dir string, nodes int) (results []result, err error) {
	measure := ways
	if nodes > maxBothWays {
		measure = ways[:1]
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

func spreadOnce(ctx context.Context, dir string, nodes int, words, setting string) (results []result, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	fakes := cluster.FakeNodes{
		Count: nodes, InitContainer: fakeInitContainer, ImageVolumes: fakeImageVolumes,
		NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.37.0", ContainerRuntimeVersion: "containerd://2.4.0"},
	}
	b, err := up(ctx, dir, fakes, nil, "--set", setting)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Down(context.WithoutCancel(ctx))) }()
	if err := b.namespace(ctx, "spread"); err != nil {
		return nil, err
	}
	for i := range spreadImages - 2 {
		if err := b.deploy(ctx, "spread", fmt.Sprint("listed-", i), fmt.Sprintf("bench.invalid/listed-%d:v1", i)); err != nil {
			return nil, err
		}
	}
	// With the first change what is there is held from then on; the second one is measured.
	for i := range 2 {
		if err := b.waitEverywhere(ctx, nodes, spreadImages-2+i); err != nil {
			return nil, err
		}
		writes := b.writes()
		bytes, err := b.etcdBytes(ctx)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		if err := b.deploy(ctx, "spread", fmt.Sprint("new-", i), fmt.Sprintf("bench.invalid/new-%d:v1", i)); err != nil {
			return nil, err
		}
		if err := b.waitEverywhere(ctx, nodes, spreadImages-1+i); err != nil {
			return nil, err
		}
		if i == 0 {
			continue
		}
		took := time.Since(start)
		after, err := b.etcdBytes(ctx)
		if err != nil {
			return nil, err
		}
		target := ""
		if setting == ways[0].setting && nodes <= 200 {
			target = "< 30"
		} else if setting == ways[0].setting {
			target = "< 480"
		}
		b.add(fmt.Sprintf("one new image on %d nodes, list of %d, %s", nodes, spreadImages, words), took.Seconds(), "s", target)
		b.add(fmt.Sprintf("one new image on %d nodes, %s: API writes by everybody, for each node", nodes, words), float64(b.writes()-writes)/float64(nodes), "writes", "")
		b.add(fmt.Sprintf("one new image on %d nodes, %s: bytes written to etcd, for each node", nodes, words), (after-bytes)/1024/float64(nodes), "KiB", "")
	}
	return b.results, nil
}

// waitEverywhere returns when all of so many images are on all nodes.
func (b *bench) waitEverywhere(ctx context.Context, nodes, count int) error {
	want := fmt.Sprintf("%[1]d/%[1]d", nodes)
	there := 0
	for deadline := time.Now().Add(spreadTimeout); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		known, err := b.prepullImages(ctx)
		if err != nil {
			return err
		}
		there = 0
		for _, o := range known {
			status, _ := o.Object["status"].(map[string]any)
			if status["ready"] == want {
				there++
			}
		}
		if there == count {
			return nil
		}
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
