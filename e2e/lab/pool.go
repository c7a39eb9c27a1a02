package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// PoolEnv names the folder of a pool that several test processes share. Without it each has one of its own.
const PoolEnv = "KUBE_PREPULL_TEST_POOL"

// Pool is a folder with places for clusters: as many as this machine has processors, and as many again that are given away
// only while the processors are idle. With more of them, tests would measure how busy the machine is. A place may keep a
// cluster, with kube-prepull installed, from one test to the next.
type Pool struct {
	dir    string
	owner  *os.File // locked as long as the clusters are wanted; nil if the pool is another process'
	remove func() error
}

// NewPool makes a pool in a temporary folder. Its clusters, and the folder, end with Close, and with this process, however
// that ends.
func NewPool() (*Pool, error) {
	dir, remove, err := keptFolder()
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // there are tests without privileges
		return nil, err
	}
	p := &Pool{dir: dir, remove: remove}
	for i := range places() {
		if err := os.MkdirAll(p.place(i), 0o755); err != nil {
			return nil, fmt.Errorf("making a pool of clusters: %w", err)
		}
	}
	if err := os.MkdirAll(p.built(), 0o755); err != nil {
		return nil, fmt.Errorf("making a pool of clusters: %w", err)
	}
	if p.owner, err = lock(p.lifeline(), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("locking the pool of clusters: %w", err)
	}
	return p, nil
}

// Env tells a test process, as NAME=value, to use this pool, and to have its temporary files there.
func (p *Pool) Env() []string { return []string{PoolEnv + "=" + p.dir, "TMPDIR=" + p.dir} }

// started is when this process did, and headStart what tests with clusters of their own need to say so.
var started = time.Now()

const headStart = 3 * time.Second

func places() int { return 2 * processors() }

func (p *Pool) place(i int) string { return filepath.Join(p.dir, fmt.Sprint("place-", i)) }
func (p *Pool) built() string      { return filepath.Join(p.dir, "built") }
func (p *Pool) lifeline() string   { return filepath.Join(p.dir, "lifeline") }

// begun is a file that changes with each cluster that begins beyond the number of processors.
func (p *Pool) begun() string { return filepath.Join(p.dir, "begun") }

// queue is a file that tests lock together which wait for a cluster of their own.
func (p *Pool) queue() string { return filepath.Join(p.dir, "queue") }

// endWithOwner ends this process when the pool's owner has ended: nobody waits for it any more.
func (p *Pool) endWithOwner() error {
	lifeline, err := os.Open(p.lifeline())
	if err != nil {
		return fmt.Errorf("opening the lifeline of the pool: %w", err)
	}
	go func() {
		for errors.Is(syscall.Flock(int(lifeline.Fd()), syscall.LOCK_SH), syscall.EINTR) {
		}
		os.Exit(1)
	}()
	return nil
}

// Close takes down what clusters there are.
func (p *Pool) Close() error {
	var errs []error
	for i := range places() {
		errs = append(errs, (&place{dir: p.place(i)}).clear())
	}
	return errors.Join(append(errs, p.owner.Close(), p.remove())...)
}

// place is room for one running cluster, held by its lock.
type place struct {
	dir  string
	lock *os.File
}

func (p *place) cluster() string { return filepath.Join(p.dir, "cluster") }
func (p *place) dirty() string   { return filepath.Join(p.dir, "leased") }

// settings is the file with what helm was told, as long as that is known.
func (p *place) settings() string { return filepath.Join(p.dir, "settings") }

// take waits for a free place for a cluster of a test's own. Such tests are the longest, and come first.
func (p *Pool) take(ctx context.Context) (*place, error) {
	queue, err := lock(p.queue(), syscall.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("waiting for a place: %w", err)
	}
	defer queue.Close()
	return p.poll(ctx, func(idle bool) (*place, error) { return p.free(false, idle) })
}

// takeKept waits for a place while no test waits for one of its own, and prefers one that keeps a cluster.
func (p *Pool) takeKept(ctx context.Context) (*place, error) {
	return p.poll(ctx, func(idle bool) (*place, error) {
		if time.Since(started) < headStart {
			return nil, nil
		}
		queue, err := lock(p.queue(), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil || queue == nil {
			return nil, err
		}
		defer queue.Close()
		return p.free(true, idle)
	})
}

func (p *Pool) poll(ctx context.Context, try func(idle bool) (*place, error)) (*place, error) {
	var idle idleness
	for {
		if one, err := try(idle.enough(measureIdle(), processors())); one != nil || err != nil {
			return one, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// free is a place that nobody holds, if there is one: rather one that keeps a cluster, or rather one without.
func (p *Pool) free(kept, idle bool) (*place, error) {
	room := processors()
	if idle && p.settled() {
		room = places()
	}
	for _, wanted := range []bool{kept, !kept} {
		for i := range room {
			one := &place{dir: p.place(i)}
			if _, err := os.Stat(one.cluster()); (err == nil) != wanted {
				continue
			}
			var err error
			one.lock, err = lock(filepath.Join(one.dir, "lock"), syscall.LOCK_EX|syscall.LOCK_NB)
			if one.lock != nil && i >= processors() {
				err = os.WriteFile(p.begun(), nil, 0o644)
			}
			if one.lock != nil || err != nil {
				return one, err
			}
		}
	}
	return nil, nil
}

// settled is true if the last cluster beyond the number of processors has begun long enough ago to show what it takes.
func (p *Pool) settled() bool {
	begun, err := os.Stat(p.begun())
	return err != nil || time.Since(begun.ModTime()) >= idleTime
}

// lock locks a file until it is closed. It returns nil if that would mean to wait, and is not to.
func lock(path string, how int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(file.Fd()), how); err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = nil
	}
	return nil, err
}

// leave lets others have the place.
func (p *place) leave() error { return p.lock.Close() }

// mark says that a test is at the cluster; unmark, that it has left it clean. Who finds the mark clears the place.
func (p *place) mark() error   { return os.WriteFile(p.dirty(), nil, 0o644) }
func (p *place) unmark() error { return os.Remove(p.dirty()) }

func (p *place) marked() bool {
	_, err := os.Stat(p.dirty())
	return err == nil
}

// clear takes down the cluster of a place, if there is one.
func (p *place) clear() error {
	err := cluster.Down(context.Background(), p.cluster())
	for _, file := range []string{p.dirty(), p.settings()} {
		if e := os.Remove(file); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
