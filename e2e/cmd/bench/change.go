package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

const (
	changeNamespace = "change"
	changeSize      = 1 << 20

	// settleTime is what a node may have to do still after a change: the old pod is taken down.
	settleTime = 5 * time.Second
)

// controlPrograms are those of the control plane: all others run on the nodes.
var controlPrograms = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// change measures on a real node what one new image costs it that has a list of fifty, in both ways to hold images.
func change(ctx context.Context, dir string) (results []result, err error) {
	c, err := cluster.Up(ctx, cluster.Options{Dir: dir, Progress: os.Stderr, Nodes: []cluster.Node{{Name: "node-1"}}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Down(context.WithoutCancel(ctx))) }()
	r, err := lab.Serve(c, registry.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := lab.PushProduct(ctx, filepath.Join(c.Dir(), "images"), r.Addr()); err != nil {
		return nil, err
	}
	n := &changingNode{bench: &bench{Cluster: c}, registry: r}
	if err := images.GoBuild(ctx, lab.Source("e2e/cmd/sleeper"), runtime.GOARCH, filepath.Join(c.Dir(), "sleeper")); err != nil {
		return nil, err
	}
	if err := n.namespace(ctx, changeNamespace); err != nil {
		return nil, err
	}
	var took, used []time.Duration
	for _, way := range ways {
		elapsed, burnt, err := n.measureChange(ctx, way.setting)
		if err != nil {
			return nil, err
		}
		took, used = append(took, elapsed), append(used, burnt)
		n.add("one new image on a node with a list of 50, "+way.words, elapsed.Seconds(), "s", "")
		n.add("one new image on a node with a list of 50, "+way.words+": kubelet, containerd and shims", burnt.Seconds(), "CPU s", "")
	}
	n.add("one new image on a node with a list of 50: part of the processor time", used[0].Seconds()/used[1].Seconds(), "times", "< 0.1")
	n.add("one new image on a node with a list of 50: part of the time", took[0].Seconds()/took[1].Seconds(), "times", "")
	return n.results, nil
}

// changingNode is a node, and the images that it has.
type changingNode struct {
	*bench
	registry  *registry.Registry
	installed bool
	count     int
}

// bring deploys so many more images, and returns when all are there, and what it took.
func (n *changingNode) bring(ctx context.Context, count int) (time.Duration, error) {
	var pushed []string
	for range count {
		image := fmt.Sprintf("%s/change/app-%d:v1", n.registry.Addr(), n.count)
		description := images.Image{
			Size: changeSize, Seed: uint64(1000 + n.count), Entrypoint: []string{"/sleeper"},
			Binaries: map[string]string{"/sleeper": filepath.Join(n.Dir(), "sleeper")},
		}
		if _, err := description.Push(ctx, image, remote.WithTransport(n.registry.Transport())); err != nil {
			return 0, err
		}
		pushed = append(pushed, image)
		n.count++
	}
	start := time.Now()
	for i, image := range pushed {
		if err := n.deploy(ctx, changeNamespace, fmt.Sprint("app-", n.count-count+i), image); err != nil {
			return 0, err
		}
	}
	err := n.waitEverywhere(ctx, 1, n.count)
	return time.Since(start), err
}

// measureChange brings a list of fifty, changes it once so that images are held from then on, and measures another change:
// from the moment when the new pod is there to when it is ready.
func (n *changingNode) measureChange(ctx context.Context, setting string) (took, burnt time.Duration, err error) {
	if !n.installed {
		err = lab.Install(ctx, n.Cluster, n.registry.Addr(), "--set", setting, "--set", "config.maxImagesPerNode=60")
	} else {
		err = lab.Helm(ctx, n.Cluster, "upgrade", system, lab.Source("deploy/chart"), "--namespace", system, "--reuse-values", "--wait", "--set", setting)
	}
	if err != nil {
		return 0, 0, err
	}
	n.installed = true
	if _, err := n.bring(ctx, max(1, 48-n.count)); err != nil {
		return 0, 0, err
	}
	if _, err := n.bring(ctx, 1); err != nil {
		return 0, 0, err
	}
	if err := sleep(ctx, 2*settleTime); err != nil {
		return 0, 0, err
	}
	before, err := n.burntOnNodes()
	if err != nil {
		return 0, 0, err
	}
	if _, err := n.bring(ctx, 1); err != nil {
		return 0, 0, err
	}
	if took, err = n.podTook(ctx); err != nil {
		return 0, 0, err
	}
	if err := sleep(ctx, settleTime); err != nil {
		return 0, 0, err
	}
	after, err := n.burntOnNodes()
	return took, after - before, err
}

// podTook is how long the newest prepull pod took from its creation until it was ready.
func (n *changingNode) podTook(ctx context.Context) (time.Duration, error) {
	for deadline := time.Now().Add(joinTimeout); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		pods, err := n.Client().CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"})
		if err != nil {
			return 0, err
		}
		if len(pods.Items) != 1 {
			continue
		}
		for _, c := range pods.Items[0].Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				return c.LastTransitionTime.Sub(pods.Items[0].CreationTimestamp.Time), nil
			}
		}
	}
	return 0, errors.New("the prepull pod does not become ready")
}

// burntOnNodes is the processor time of what runs on the nodes.
func (n *changingNode) burntOnNodes() (time.Duration, error) {
	programs, err := cluster.Burnt(n.Dir())
	if err != nil {
		return 0, err
	}
	var all time.Duration
	for program, used := range programs {
		if !slices.Contains(controlPrograms, program) {
			all += used
		}
	}
	return all, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
