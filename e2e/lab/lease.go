package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// sharing is the product that tests of this process use at the same time.
var sharing struct {
	sync.Mutex
	product *Product
	place   *place
	users   int
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
		sharing.product, sharing.place = lease(t, nil)
	}
	sharing.users++
	t.Cleanup(func() {
		sharing.Lock()
		defer sharing.Unlock()
		if sharing.users--; sharing.users == 0 {
			giveBack(t, sharing.product, sharing.place)
		}
	})
	return sharing.product
}

// Lease is kube-prepull on two nodes, node-1 and node-2, with nothing else there and no other test beside this one. The
// settings are what helm is told in addition.
func Lease(t *testing.T, settings ...string) *Product {
	t.Helper()
	p, at := lease(t, settings)
	t.Cleanup(func() { giveBack(t, p, at) })
	return p
}

// lease takes a place, and brings up a cluster with kube-prepull there unless there is one.
func lease(t *testing.T, settings []string) (*Product, *place) {
	t.Helper()
	RequireNodes(t)
	start := time.Now()
	at, err := pool.take(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	sayWaited(t, start)
	p, err := open(at, settings)
	if err != nil {
		t.Fatal(errors.Join(err, at.clear(), at.leave()))
	}
	return p, at
}

// open has ctx of its own: a cluster outlives the test that was the first to ask for it.
func open(at *place, settings []string) (*Product, error) {
	ctx := context.Background()
	if at.marked() {
		if err := at.clear(); err != nil {
			return nil, err
		}
	}
	if err := at.mark(); err != nil {
		return nil, err
	}
	p, err := at.openCluster(ctx)
	if err != nil {
		return nil, err
	}
	p.settings = settings
	before, err := os.ReadFile(filepath.Join(at.dir, "settings"))
	if err == nil && string(before) == strings.Join(settings, "\n") {
		return p, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	installed := err == nil
	end := p.MayBeRefused() // managers of before may lose what they need
	defer end()
	if err := p.Install(ctx); err != nil {
		return nil, err
	}
	if installed {
		if err := until(p.led); err != nil {
			return nil, fmt.Errorf("waiting for managers with other settings: %w", err)
		}
	}
	return p, os.WriteFile(filepath.Join(at.dir, "settings"), []byte(strings.Join(settings, "\n")), 0o644)
}

func (at *place) openCluster(ctx context.Context) (*Product, error) {
	c, err := cluster.Open(at.cluster())
	if errors.Is(err, fs.ErrNotExist) {
		c, err = cluster.Up(ctx, audited(cluster.Options{
			Dir: at.cluster(), Detached: true, Lifeline: pool.lifeline(),
			Nodes: []cluster.Node{{Name: "node-1"}, {Name: "node-2"}},
		}))
	}
	if err != nil {
		return nil, err
	}
	p := &Product{Cluster: c}
	return p, p.Serve(ctx)
}

// giveBack leaves the cluster of a place as it was, or takes it down if a test failed on it or that cannot be had.
func giveBack(t *testing.T, p *Product, at *place) {
	if t.Failed() {
		p.explain(t)
	}
	err := p.clean()
	if err != nil {
		t.Logf("the cluster is taken down: %v", err)
	}
	left := collect(p.Cluster, p.refusals)
	if left != nil {
		t.Error(left)
	}
	if err != nil || t.Failed() {
		err = at.clear()
	} else {
		err = at.unmark()
	}
	if err := errors.Join(err, p.Registry.Close(), at.leave()); err != nil {
		t.Error(err)
	}
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

// Uninstalled is a cluster of the test's own, whose registry has the images of kube-prepull.
func Uninstalled(t *testing.T, nodes ...string) *Product {
	t.Helper()
	o := cluster.Options{}
	for _, name := range nodes {
		o.Nodes = append(o.Nodes, cluster.Node{Name: name})
	}
	return UninstalledOn(t, o)
}

// UninstalledOn is a cluster of the test's own, brought up with options, whose registry has the images of kube-prepull.
func UninstalledOn(t *testing.T, o cluster.Options, settings ...string) *Product {
	t.Helper()
	RequireNodes(t)
	TakePlace(t)
	o.Dir = ShortTempDir(t)
	c, err := cluster.Up(t.Context(), audited(o))
	if err != nil {
		t.Fatal(err)
	}
	p := &Product{Cluster: c, settings: settings}
	t.Cleanup(func() {
		if t.Failed() {
			p.explain(t)
		}
		var err error
		if p.Registry != nil {
			err = p.Registry.Close()
		}
		if err := errors.Join(err, takeDown(c, p.refusals...)); err != nil {
			t.Error(err)
		}
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
	t.Cleanup(func() {
		if err := takeDown(c); err != nil {
			t.Errorf("taking the cluster down: %v", err)
		}
	})
	return c
}

// TakePlace waits until the machine has room for one more cluster, which is the test's as long as it runs.
func TakePlace(t *testing.T) {
	t.Helper()
	start := time.Now()
	at, err := pool.take(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	sayWaited(t, start)
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
	if took := time.Since(start).Round(100 * time.Millisecond); took > 0 {
		t.Log(Waited + took.String())
	}
}

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

// until asks until there is no error, and returns the last one when it hangs.
func until(check func() error) error {
	for deadline := time.Now().Add(hangs); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// initial are the namespaces of a cluster in which kube-prepull is installed, and nothing else.
var initial = []string{"default", "kube-node-lease", "kube-public", "kube-system", System}

func isInitial(namespace string) bool { return slices.Contains(initial, namespace) }
