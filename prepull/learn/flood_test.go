package learn

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// optedInEverywhere answers for the cache: every namespace is opted in.
type optedInEverywhere struct{ client.Reader }

func (optedInEverywhere) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.SetLabels(map[string]string{v1alpha1.LabelEnabled: v1alpha1.Enabled})
	return nil
}

// emptyServer is an API server that stores no workload and no pod, but has another page for every list.
type emptyServer struct {
	mu    sync.Mutex
	gets  map[string]time.Time // the first of each name
	reads int
	lists int
}

func (s *emptyServer) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.gets[key.Name].IsZero() {
		s.gets[key.Name] = time.Now()
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func (s *emptyServer) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	list.SetContinue("more")
	return nil
}

// flooded runs a learner of an empty server for a while after some hints.
func flooded(t *testing.T, hints []workload.Hint, while time.Duration) *emptyServer {
	t.Helper()
	server := &emptyServer{gets: map[string]time.Time{}}
	l := &Learner{
		metrics: testMetrics(t),
		cached:  optedInEverywhere{}, live: server, namespace: "kube-prepull", clocks: clock.Production(),
		named: newLookupQueue(maxHints), searches: newLookupQueue(maxHints),
		reads: rate.NewLimiter(readRate, readBurst), lists: rate.NewLimiter(listRate, listBurst),
	}
	for _, h := range hints {
		l.Hint(h)
	}
	ctx, cancel := context.WithTimeout(t.Context(), while)
	defer cancel()
	if err := l.Start(ctx); err != nil {
		t.Error(err)
	}
	return server
}

func forgedPods(n int, labels map[string]string) []workload.Hint {
	var hints []workload.Hint
	for i := range n {
		hints = append(hints, workload.Hint{Kind: "Pod", Namespace: fmt.Sprint("shop-", i%8), OwnerUID: types.UID(fmt.Sprint(i)), Labels: labels})
	}
	return hints
}

func TestForgedOwnersBuyFewListsAndHoldUpNoObject(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		hints := append(forgedPods(4000, nil), workload.Hint{Kind: "Deployment", Namespace: "shop-0", Name: "real"})
		server := flooded(t, hints, 11*time.Second)
		if most := listBurst + 10*listRate + 1; server.lists > most || server.lists < most-searchers {
			t.Errorf("4000 forged hints bought %d lists in 10 s, at most %d should be", server.lists, most)
		}
		if waited := server.gets["real"].Sub(start); waited != firstWait {
			t.Errorf("the Deployment was read after %v", waited)
		}
	})
}

func TestASearchReadsOnePageUnlessForARevision(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		labels map[string]string
		want   int
	}{
		"without labels":           {nil, 1},
		"by any label":             {map[string]string{"app": "api"}, 1},
		"by the label of revision": {map[string]string{"app": "api", "pod-template-hash": "5d9c"}, listPages},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// The time is enough for the first search alone.
				if got := flooded(t, forgedPods(1, test.labels), clock.Production().FirstList+retryWait/2).lists; got != test.want {
					t.Errorf("it reads %d pages, want %d", got, test.want)
				}
			})
		})
	}
}

func TestForgedNamesOfOneNamespaceHoldUpTheOthersForSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var hints []workload.Hint
		for i := range 2 * maxHints {
			hints = append(hints, workload.Hint{Kind: "Deployment", Namespace: "greedy", Name: fmt.Sprint("forged-", i)})
		}
		server := flooded(t, append(hints, workload.Hint{Kind: "Deployment", Namespace: "modest", Name: "real"}), time.Minute)
		if waited := server.gets["real"].Sub(start); server.gets["real"].IsZero() || waited > 2*time.Second {
			t.Errorf("the Deployment of the other namespace was read after %v", waited)
		}
		if most := (maxHints/4 + 1) * (maxAttempts + 1); server.reads > most {
			t.Errorf("the hints bought %d reads, at most %d should be", server.reads, most)
		}
	})
}

func TestANamespaceThatIsNotThereIsLookedAtOnce(t *testing.T) {
	t.Parallel()
	l := &Learner{cached: &emptyServer{gets: map[string]time.Time{}}, namespace: "kube-prepull"}
	found, err := l.learn(t.Context(), lookup{lookupKey: lookupKey{kind: "Deployment", namespace: "invented", name: "api"}})
	if found != foreign || err != nil {
		t.Errorf("learn = %v, %v", found, err)
	}
}
