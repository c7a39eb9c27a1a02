package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// fleetShapes is how many shapes the nodes of the fleet have.
const fleetShapes = 12

const (
	// fleetTimeout is how long a step of the fleet may take.
	fleetTimeout = 15 * time.Minute

	// fleetPace is how often it is looked at: often would be much of what the cluster does.
	fleetPace = 2 * time.Second
)

// fleet measures the memory of the manager with many images in use by workloads, and more and more nodes of twelve shapes. The
// first nodes bring the images, one of each shape, and all others hold them: so does a cluster whose nodes come one by one.
func fleet(ctx context.Context, dir string, nodes, images int) (results []result, err error) {
	info := corev1.NodeSystemInfo{KubeletVersion: "v1.37.0", ContainerRuntimeVersion: "containerd://2.4.0"}
	b, err := up(ctx, dir, true, cluster.FakeNodes{}, []string{"system:serviceaccount:kube-prepull:kube-prepull"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Down(context.WithoutCancel(ctx))) }()
	if err := b.namespace(ctx, "fleet"); err != nil {
		return nil, err
	}
	there := 0
	grow := func(to int) error {
		for shape := range fleetShapes {
			add := cluster.FakeNodes{
				Prefix: fmt.Sprintf("fake-%d-%d-", to, shape), Count: (to - there) / fleetShapes, Labels: shapeLabels(shape),
				Taints: []corev1.Taint{fakeTaint}, NodeInfo: info,
			}
			if err := b.AddFakeNodes(ctx, add); err != nil {
				return err
			}
		}
		there += (to - there) / fleetShapes * fleetShapes
		return nil
	}
	if err := grow(fleetShapes); err != nil {
		return nil, err
	}
	if err := b.deployFleet(ctx, images); err != nil {
		return nil, err
	}
	if err := b.waitFleet(ctx, there, true); err != nil {
		return nil, err
	}
	for _, to := range []int{nodes / 10, nodes / 2, nodes} {
		start := time.Now()
		if err := grow(to); err != nil {
			return b.results, err
		}
		fmt.Fprintf(os.Stderr, "  %d nodes are Ready after %s\n", there, time.Since(start).Round(time.Second))
		if err := b.fleetMemory(ctx, there); err != nil {
			return b.results, err
		}
	}
	err = b.restartFleet(ctx, there)
	return b.results, err
}

// shapeLabels are what sets a shape apart: three zones, two pools and two tiers.
func shapeLabels(shape int) map[string]string {
	return map[string]string{"zone": fmt.Sprint(shape % 3), "pool": fmt.Sprint(shape / 3 % 2), "tier": fmt.Sprint(shape / 6 % 2)}
}

// deployFleet makes the workloads, each with an image of its own, for one shape each.
func (b *bench) deployFleet(ctx context.Context, images int) error {
	start := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(20)
	for i := range images {
		group.Go(func() error {
			d := benchDeployment(fmt.Sprint("fleet-", i), fmt.Sprintf("bench.invalid/team-%d/fleet-%d:v1", i%40, i))
			d.Spec.Template.Spec.NodeSelector = shapeLabels(i % fleetShapes)
			_, err := b.Client().AppsV1().Deployments("fleet").Create(groupCtx, d, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("creating Deployments: %w", err)
	}
	err := b.poll(ctx, "the images to be learned", fleetTimeout, func() (bool, error) {
		return b.countImages(ctx) >= images, sleep(ctx, fleetPace)
	})
	fmt.Fprintf(os.Stderr, "  %d images are learned after %s\n", images, time.Since(start).Round(time.Second))
	return err
}

// waitFleet returns when all prepull pods are ready, and if that is asked for all images are held.
func (b *bench) waitFleet(ctx context.Context, nodes int, held bool) error {
	told := time.Now()
	return b.poll(ctx, fmt.Sprintf("the prepull pods of %d nodes", nodes), fleetTimeout, func() (bool, error) {
		lists, err := b.Client().AppsV1().DaemonSets(system).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		ready, brought := 0, 0
		for _, ds := range lists.Items {
			ready += int(ds.Status.NumberReady)
			brought += len(ds.Spec.Template.Spec.InitContainers) - 1
		}
		if time.Since(told) > progressPace {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "  %d of %d prepull pods are ready, %d lists bring %d images\n", ready, nodes, len(lists.Items), brought)
		}
		done := len(lists.Items) == fleetShapes && ready == nodes && (!held || brought == 0)
		return done, sleep(ctx, fleetPace)
	})
}

// fleetMemory adds what the manager uses with so many nodes: while they come and afterwards, at rest.
func (b *bench) fleetMemory(ctx context.Context, nodes int) error {
	peak := b.watchMemory(ctx)
	if err := b.waitFleet(ctx, nodes, false); err != nil {
		return err
	}
	if err := sleep(ctx, time.Minute); err != nil {
		return err
	}
	most, err := peak()
	if err != nil {
		return err
	}
	if err := b.memory(ctx, "< 200"); err != nil {
		return err
	}
	b.add(fmt.Sprintf("manager memory (resident), %d nodes: the most while they come", nodes), most, "MiB", "< 256")
	return nil
}

// restartFleet adds what a manager uses that starts in a cluster which is there.
func (b *bench) restartFleet(ctx context.Context, nodes int) error {
	if err := b.stopManager(ctx); err != nil {
		return err
	}
	if err := b.startManager(ctx, "manager-2"); err != nil {
		return err
	}
	if err := b.poll(ctx, "the manager's metrics", fleetTimeout, func() (bool, error) {
		_, err := b.resident(ctx) // they are served once there is a certificate
		return err == nil, sleep(ctx, time.Second/10)
	}); err != nil {
		return err
	}
	peak := b.watchMemory(ctx)
	if err := sleep(ctx, time.Minute); err != nil {
		return err
	}
	most, err := peak()
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("manager memory (resident), %d nodes: the most in the first minute of a manager", nodes), most, "MiB", "< 256")
	return b.memory(ctx, "< 200")
}

// watchMemory looks at the manager's memory all the time until its result is called, which returns the most that was seen.
func (b *bench) watchMemory(ctx context.Context) func() (float64, error) {
	ctx, stop := context.WithCancel(ctx)
	type seen struct {
		most float64
		err  error
	}
	done := make(chan seen, 1)
	go func() {
		var s seen
		for s.err == nil && sleep(ctx, time.Second) == nil {
			now, err := b.resident(ctx)
			if ctx.Err() == nil {
				s.most, s.err = max(s.most, now), err
			}
		}
		done <- s
	}()
	return func() (float64, error) {
		stop()
		s := <-done
		return s.most, s.err
	}
}
