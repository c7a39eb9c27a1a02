package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// sharing is the product that tests of this process use at the same time.
var sharing struct {
	sync.Mutex
	product *Product
	place   *place
	users   int
	failed  bool
}

// Shared is kube-prepull on two nodes, node-1 and node-2, for tests that change nothing but namespaces of their own. Any
// number of them use it at a time.
func Shared(t *testing.T) *Product {
	t.Helper()
	start := time.Now()
	sharing.Lock()
	defer sharing.Unlock()
	sayWaited(t, start)
	if sharing.users == 0 {
		sharing.product, sharing.place = lease(t, testClockSpeed, nil)
	}
	sharing.users++
	t.Cleanup(func() {
		sharing.Lock()
		defer sharing.Unlock()
		sharing.failed = sharing.failed || t.Failed()
		if sharing.users--; sharing.users == 0 {
			giveBack(t, sharing.product, sharing.place, sharing.failed)
			sharing.failed = false
		}
	})
	return sharing.product
}

// Lease is kube-prepull on two nodes, node-1 and node-2, with nothing else there and no other test beside this one. The
// settings are what helm is told in addition.
func Lease(t *testing.T, settings ...string) *Product {
	t.Helper()
	p, at := lease(t, testClockSpeed, settings)
	t.Cleanup(func() { giveBack(t, p, at, t.Failed()) })
	return p
}

// LeaseAsShipped is Lease with the clocks of production.
func LeaseAsShipped(t *testing.T) *Product {
	t.Helper()
	p, at := lease(t, 1, nil)
	t.Cleanup(func() { giveBack(t, p, at, t.Failed()) })
	return p
}

// lease takes a place, and brings up a cluster with kube-prepull there unless there is one.
func lease(t *testing.T, clockSpeed int, settings []string) (*Product, *place) {
	t.Helper()
	RequireNodes(t)
	start := time.Now()
	at, err := pool.takeKept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sayWaited(t, start)
	p := &Product{clockSpeed: clockSpeed, settings: settings}
	if p.chart, err = patientChart(); err != nil {
		t.Fatal(errors.Join(err, at.leave()))
	}
	start = time.Now()
	if err := p.open(at); err != nil {
		t.Fatal(errors.Join(err, p.closeRegistry(), at.clear(), at.leave()))
	}
	t.Logf("the cluster was ready after %s", since(start))
	return p, at
}

// open takes over the cluster of a place. It outlives the test that was the first to ask for it.
func (p *Product) open(at *place) error {
	ctx := context.Background()
	if at.marked() {
		if err := at.clear(); err != nil {
			return err
		}
	}
	if err := at.mark(); err != nil {
		return err
	}
	var err error
	p.Cluster, err = cluster.Open(at.cluster())
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		p.Cluster, err = cluster.Up(ctx, audited(cluster.Options{
			Dir: at.cluster(), Detached: true, Lifeline: pool.lifeline(),
			Nodes: []cluster.Node{{Name: "node-1"}, {Name: "node-2"}},
		}))
	}
	if err != nil {
		return err
	}
	if !isNew {
		p.burntBefore = burnt(p.Cluster)
	}
	if err := p.Serve(ctx); err != nil {
		return err
	}
	return p.adopt(ctx, at)
}

func (p *Product) closeRegistry() error {
	if p.Registry == nil {
		return nil
	}
	return p.Registry.Close()
}

// adopt gives the managers the settings, unless they have them.
func (p *Product) adopt(ctx context.Context, at *place) error {
	now := strings.Join(append([]string{p.tag()}, p.settings...), "\n")
	before, err := os.ReadFile(at.settings())
	if err == nil && string(before) == now {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	end := p.MayBeRefused() // managers of before may lose what they need
	defer end()
	if installed := err == nil; installed {
		// Nobody waits for managers that nobody needs to say farewell.
		if err := p.evictManagers(ctx); err != nil {
			return err
		}
	}
	if err := p.Install(ctx, "--force-conflicts"); err != nil {
		return err
	}
	if err := until(hangs, p.led); err != nil {
		return fmt.Errorf("waiting for managers with other settings: %w", err)
	}
	p.changed = false
	return os.WriteFile(at.settings(), []byte(now), 0o644)
}

// evictManagers ends all managers at once, and lets others lead at once.
func (p *Product) evictManagers(ctx context.Context) error {
	scale := []byte(`{"spec":{"replicas":0}}`)
	if _, err := p.Client().AppsV1().Deployments(System).Patch(ctx, "kube-prepull", types.MergePatchType, scale, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("scaling the managers: %w", err)
	}
	now := int64(0)
	return until(hangs, func() error {
		managers, err := p.managerPods(ctx)
		if err != nil {
			return err
		}
		for _, pod := range managers {
			if err := p.Client().CoreV1().Pods(System).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if len(managers) > 0 {
			return fmt.Errorf("there are %d managers", len(managers))
		}
		err = p.Client().CoordinationV1().Leases(System).Delete(ctx, "kube-prepull", metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// giveBack leaves the cluster of a place as it was, or takes it down if a test failed on it or that cannot be had.
func giveBack(t *testing.T, p *Product, at *place, failed bool) {
	if failed {
		p.explain(t)
	}
	errs := []error{p.Registry.Close()}
	tired, start := p.tired(), time.Now()
	if err := p.clean(); err != nil {
		t.Logf("the cluster is taken down, since it is not as it was: %v", err)
		failed = true
	}
	t.Logf("the cluster was clean after %s", since(start))
	if p.changed || tired {
		errs = append(errs, os.Remove(at.settings()))
	}
	if err := collect(p.Cluster, p.refusals); err != nil {
		errs, failed = append(errs, err), true
	}
	sayBurnt(t, p.Cluster, p.burntBefore)
	if failed {
		errs = append(errs, at.clear())
	} else {
		errs = append(errs, at.unmark())
	}
	if err := errors.Join(append(errs, at.leave())...); err != nil {
		t.Error(err)
	}
}

// tired is true of managers that have seen images fail: they change lists ever less often, and would make the next test
// wait.
func (p *Product) tired() bool {
	ctx := context.Background()
	token, err := ScrapeToken(ctx, p.Cluster)
	if err != nil {
		return true
	}
	managers, err := p.managerPods(ctx)
	for _, pod := range managers {
		failed, e := Metric(ctx, p.Cluster, net.JoinHostPort(pod.Status.PodIP, "8080"), token, "kube_prepull_quarantines_total")
		if failed > 0 || e != nil {
			return true
		}
	}
	return err != nil
}

// Own is kube-prepull on a cluster of the test's own, with these nodes.
func Own(t *testing.T, nodes ...string) *Product {
	t.Helper()
	p := Uninstalled(t, nodes...)
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// OwnAsShipped is kube-prepull on a cluster of the test's own, with the clocks of production.
func OwnAsShipped(t *testing.T, nodes ...cluster.Node) *Product {
	t.Helper()
	p := uninstalledOn(t, cluster.Options{Nodes: nodes}, 1, nil)
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// Uninstalled is a cluster of the test's own, whose registry has the images of kube-prepull.
func Uninstalled(t *testing.T, nodes ...string) *Product {
	t.Helper()
	return UninstalledOn(t, named(nodes))
}

// named are options with nodes of these names.
func named(nodes []string) cluster.Options {
	o := cluster.Options{}
	for _, name := range nodes {
		o.Nodes = append(o.Nodes, cluster.Node{Name: name})
	}
	return o
}

// UninstalledOn is a cluster of the test's own, brought up with options, whose registry has the images of kube-prepull.
func UninstalledOn(t *testing.T, o cluster.Options, settings ...string) *Product {
	t.Helper()
	return uninstalledOn(t, o, testClockSpeed, settings)
}

func uninstalledOn(t *testing.T, o cluster.Options, clockSpeed int, settings []string) *Product {
	t.Helper()
	RequireNodes(t)
	chart := Source("deploy/chart")
	if clockSpeed != 1 {
		var err error
		if chart, err = patientChart(); err != nil {
			t.Fatal(err)
		}
	}
	TakePlace(t)
	o.Dir = ShortTempDir(t)
	c, err := cluster.Up(t.Context(), audited(o))
	if err != nil {
		t.Fatal(err)
	}
	p := &Product{Cluster: c, clockSpeed: clockSpeed, chart: chart, settings: settings}
	t.Cleanup(func() {
		if t.Failed() {
			p.explain(t)
		}
		if err := p.closeRegistry(); err != nil {
			t.Error(err)
		}
		takeDown(t, c, p.refusals...)
	})
	if err := p.Serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// UpCluster is a cluster of the test's own without kube-prepull.
func UpCluster(t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	TakePlace(t)
	o.Dir = ShortTempDir(t)
	c, err := cluster.Up(t.Context(), audited(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { takeDown(t, c) })
	return c
}

// TakePlace waits until the machine has room for one more cluster, which is the test's as long as it runs.
func TakePlace(t *testing.T) {
	t.Helper()
	start := time.Now()
	at, err := pool.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sayWaited(t, start)
	// A cluster that nobody uses would take a part of the processors.
	if err := at.clear(); err != nil {
		t.Fatal(errors.Join(err, at.leave()))
	}
	t.Cleanup(func() {
		if err := at.leave(); err != nil {
			t.Error(err)
		}
	})
}

// Waited begins what a test says of a time in which it waited for others; how long that was follows.
const Waited = "waited for a cluster: "

func sayWaited(t *testing.T, start time.Time) {
	t.Helper()
	if took := since(start); took > 0 {
		t.Log(Waited + took.String())
	}
}

func since(start time.Time) time.Duration { return time.Since(start).Round(100 * time.Millisecond) }

// led returns an error unless a manager that runs leads, and no other is on its way out.
func (p *Product) led() error {
	ctx := context.Background()
	lease, err := p.Client().CoordinationV1().Leases(System).Get(ctx, "kube-prepull", getOptions)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return fmt.Errorf("nobody leads (%v)", err)
	}
	pods, err := p.managerPods(ctx)
	if err != nil {
		return err
	}
	leads := false
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			return fmt.Errorf("manager %s is on its way out", pod.Name)
		}
		leads = leads || strings.HasPrefix(*lease.Spec.HolderIdentity, pod.Name+"_")
	}
	if !leads {
		return fmt.Errorf("the leader is %s", *lease.Spec.HolderIdentity)
	}
	return nil
}

// until asks until there is no error, and returns the last one when that takes too long.
func until(limit time.Duration, check func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// initial are the namespaces of a cluster in which kube-prepull is installed, and nothing else.
var initial = []string{"default", "kube-node-lease", "kube-public", "kube-system", System}

func isInitial(namespace string) bool { return slices.Contains(initial, namespace) }
