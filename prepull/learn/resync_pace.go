package learn

import (
	"sync"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// resyncPace keeps resyncs of all namespaces apart, whatever asks for them: each lists every workload and pod there is.
type resyncPace struct {
	// pause is the least time between two, and interval the usual one.
	pause, interval time.Duration
	// ended is when the last one ended, zero before the first.
	ended time.Time
	// failures is how many failed since one did not.
	failures int
}

// wait is how long the next one has to wait at now.
func (p resyncPace) wait(now time.Time) time.Duration {
	pause := min(p.pause, p.interval)
	for range p.failures - 1 {
		if pause > p.interval/2 {
			pause = p.interval
			break
		}
		pause *= 2
	}
	return max(0, pause-now.Sub(p.ended))
}

// after is the pace after one that ended at now, with or without an error.
func (p resyncPace) after(err error, now time.Time) resyncPace {
	p.ended, p.failures = now, p.failures+1
	if err == nil {
		p.failures = 0
	}
	return p
}

// namespacePaces are how long each namespace in which a rollout is under way has waited before its last resync: the longer it
// takes, the more seldom is looked. The zero value is ready.
type namespacePaces struct {
	mu     sync.Mutex
	waited map[string]time.Duration
}

// next is how long the next resync of a namespace has to wait, 0 if there is to be none.
func (p *namespacePaces) next(namespace string, rolling bool, pause, interval time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !rolling || p.waited[namespace] >= interval {
		delete(p.waited, namespace)
		return 0
	}
	if p.waited == nil {
		p.waited = map[string]time.Duration{}
	}
	p.waited[namespace] = min(max(pause, 2*p.waited[namespace]), interval)
	return p.waited[namespace]
}

// ownVersions are the versions of PrepullImages that the resync wrote last, by name. The zero value is ready.
type ownVersions struct {
	mu    sync.Mutex
	wrote versions
}

func (o *ownVersions) add(name, version string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wrote == nil {
		o.wrote = versions{}
	}
	o.wrote[name] = version
}

// has tells whether a PrepullImage is as the resync wrote it.
func (o *ownVersions) has(image *v1alpha1.PrepullImage) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wrote[image.Name] == image.ResourceVersion
}
