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
	corev1 "k8s.io/api/core/v1"
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

// image is the name of one of those that bring deploys.
func (n *changingNode) image(i int) string {
	return fmt.Sprintf("%s/%s/app-%d:v1", n.registry.Addr(), changeNamespace, i)
}

// push puts an image with a name into the registry, and returns the whole name.
func (n *changingNode) push(ctx context.Context, name string, seed uint64) (string, error) {
	description := images.Image{
		Size: changeSize, Seed: seed, Entrypoint: []string{"/sleeper"},
		Binaries: map[string]string{"/sleeper": filepath.Join(n.Dir(), "sleeper")},
	}
	image := n.registry.Addr() + "/" + name
	_, err := description.Push(ctx, image, remote.WithTransport(n.registry.Transport()))
	return image, err
}

// bring deploys so many more images, and returns when all are there.
func (n *changingNode) bring(ctx context.Context, count int) error {
	first := n.count
	for n.count < first+count {
		if _, err := n.push(ctx, fmt.Sprintf("%s/app-%d:v1", changeNamespace, n.count), uint64(1000+n.count)); err != nil {
			return err
		}
		n.count++
	}
	for i := first; i < n.count; i++ {
		if err := n.deploy(ctx, changeNamespace, fmt.Sprint("app-", i), n.image(i)); err != nil {
			return err
		}
	}
	return n.waitEverywhere(ctx, 1, n.count)
}

// measureChange brings a list of fifty, and measures a change of it, from the moment when the new pod is there to when it is
// ready. With the change before, all is held that may be.
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
	if err := n.bring(ctx, max(1, 48-n.count)); err != nil {
		return 0, 0, err
	}
	if err := n.bring(ctx, 1); err != nil {
		return 0, 0, err
	}
	if err := sleep(ctx, 2*settleTime); err != nil {
		return 0, 0, err
	}
	before, err := n.burntOnNodes()
	if err != nil {
		return 0, 0, err
	}
	if err := n.bring(ctx, 1); err != nil {
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
func (n *changingNode) podTook(ctx context.Context) (took time.Duration, err error) {
	err = n.poll(ctx, "the prepull pod to be ready", func() (bool, error) {
		pod, err := n.prepullPod(ctx)
		if err != nil || !lab.PodRunning(pod) {
			return false, err
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady {
				took = c.LastTransitionTime.Sub(pod.CreationTimestamp.Time)
			}
		}
		return true, nil
	})
	return took, err
}

// prepullPod is the only one, or an empty one while there are two, or none.
func (n *changingNode) prepullPod(ctx context.Context) (*corev1.Pod, error) {
	pods, err := n.Client().CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"})
	if err != nil || len(pods.Items) != 1 {
		return &corev1.Pod{}, err
	}
	return &pods.Items[0], nil
}

// poll asks until something is so.
func (n *changingNode) poll(ctx context.Context, what string, is func() (bool, error)) error {
	for deadline := time.Now().Add(joinTimeout); time.Now().Before(deadline); {
		if done, err := is(); done || err != nil {
			return err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("waited %s for %s", joinTimeout, what)
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
