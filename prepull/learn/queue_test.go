package learn

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inAWhile is a look at a named place that is due after a wait.
func inAWhile(name string, wait time.Duration) lookup {
	return lookup{lookupKey: lookupKey{name: name}, admissions: 1, due: time.Now().Add(wait)}
}

// inNamespace is a look at a named place that is due.
func inNamespace(namespace, name string) lookup {
	return lookup{lookupKey: lookupKey{namespace: namespace, name: name}, admissions: 1}
}

func TestLooksComeWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, start := newLookupQueue(10), time.Now()
		for name, wait := range map[string]time.Duration{"second": 2, "third": 3, "first": 1} {
			q.add(inAWhile(name, wait*time.Second))
		}
		for i, want := range []string{"first", "second", "third"} {
			l, ok := q.take(t.Context())
			if !ok || l.name != want || time.Since(start) != time.Duration(i+1)*time.Second {
				t.Errorf("look %d is %q (%t) after %v, want %q", i, l.name, ok, time.Since(start), want)
			}
		}
	})
}

func TestALookThatIsDueSoonerOvertakesATakerThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, start := newLookupQueue(10), time.Now()
		q.add(inAWhile("later", time.Minute))
		time.AfterFunc(time.Second, func() { q.add(inAWhile("sooner", time.Second)) })
		if l, _ := q.take(t.Context()); l.name != "sooner" || time.Since(start) != 2*time.Second {
			t.Errorf("the first look is %q after %v", l.name, time.Since(start))
		}
	})
}

func TestHintsForOnePlaceAreOneLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, start := newLookupQueue(10), time.Now()
		retry := inAWhile("api", time.Second)
		retry.attempt = 3
		q.add(retry)
		q.add(inAWhile("api", time.Minute))
		q.add(inAWhile("api", time.Minute))
		got, _ := q.take(t.Context())
		want := lookup{lookupKey: lookupKey{name: "api"}, admissions: 3, attempt: 0, due: start.Add(time.Second)}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(lookup{}, lookupKey{})); diff != "" {
			t.Errorf("the look (-want +got):\n%s", diff)
		}
		// The place is being read now: what is admitted from here on needs a look of its own.
		q.add(inAWhile("api", time.Second))
		if got, ok := q.take(t.Context()); !ok || got.admissions != 1 {
			t.Errorf("a hint during a look makes %d admissions (%t)", got.admissions, ok)
		}
	})
}

func TestAFullQueueRefusesNewPlacesOnly(t *testing.T) {
	t.Parallel()
	q := newLookupQueue(4)
	for _, step := range []struct {
		namespace string
		want      bool
	}{{"a", true}, {"b", true}, {"c", true}, {"d", true}, {"e", false}, {"a", true}} {
		if got := q.add(inNamespace(step.namespace, "api")); got != step.want {
			t.Errorf("add %s/api = %t, want %t", step.namespace, got, step.want)
		}
	}
	q.take(t.Context())
	if !q.add(inNamespace("e", "api")) {
		t.Error("there is no room after a look was taken")
	}
}

func TestANamespaceTakesAQuarterOfTheQueue(t *testing.T) {
	t.Parallel()
	q := newLookupQueue(40)
	for i := range 40 {
		if got, want := q.add(inNamespace("greedy", fmt.Sprint(i))), i < 10; got != want {
			t.Errorf("add %d = %t, want %t", i, got, want)
		}
	}
	if !q.add(inNamespace("greedy", "3")) {
		t.Error("a full share refuses a place that it has")
	}
	if !q.add(inNamespace("modest", "api")) {
		t.Error("one namespace keeps another out")
	}
	for range 11 {
		q.take(t.Context())
	}
	if !q.add(inNamespace("greedy", "late")) {
		t.Error("there is no room in a share after its looks were taken")
	}
	if diff := cmp.Diff(map[string]int{"greedy": 1}, q.waiting); diff != "" {
		t.Errorf("looks of each namespace (-want +got):\n%s", diff)
	}
}

func TestTheClientWithMostLooksGivesWay(t *testing.T) {
	t.Parallel()
	of := func(client, namespace, name string) lookup {
		l := inNamespace(namespace, name)
		l.client = client
		return l
	}
	for name, test := range map[string]struct {
		flood func(i int) lookup // 40 times, into a queue for 40
		add   []lookup
		want  bool
	}{
		"in a namespace":               {func(i int) lookup { return of("pod", "shop", fmt.Sprint(i)) }, []lookup{of("api", "shop", "web")}, true},
		"everywhere":                   {func(i int) lookup { return of("pod", fmt.Sprint(i), "a") }, []lookup{of("api", "shop", "web")}, true},
		"not for itself":               {func(i int) lookup { return of("pod", fmt.Sprint(i), "a") }, []lookup{of("pod", "shop", "web")}, false},
		"not to one that has as many":  {func(i int) lookup { return of(fmt.Sprint(i), fmt.Sprint(i), "a") }, []lookup{of("api", "shop", "web")}, false},
		"and not again what came then": {func(i int) lookup { return of("pod", "shop", fmt.Sprint(i)) }, []lookup{of("api", "shop", "web"), of("pod", "shop", "one more")}, false},
		"nor what another also hinted": {func(i int) lookup { return of("pod", "shop", fmt.Sprint(i)) }, []lookup{of("api", "shop", "3"), of("third", "shop", "one more")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newLookupQueue(40)
			for i := range 40 {
				q.add(test.flood(i))
			}
			before, got := len(q.lookups), false
			for _, l := range test.add {
				got = q.add(l)
			}
			if got != test.want || len(q.lookups) != before || len(q.order) != before {
				t.Errorf("add = %t, want %t; there are %d looks, want the %d before", got, test.want, len(q.lookups), before)
			}
			if first := test.add[0]; first.client == "api" && (test.want || len(test.add) > 1) && q.lookups[first.lookupKey] == nil {
				t.Errorf("the look at %v is gone", first.lookupKey)
			}
		})
	}
}

func TestAQueueIsCrowdedWhenMoreThanHalfFull(t *testing.T) {
	t.Parallel()
	q := newLookupQueue(8)
	for i := range 8 {
		if got, want := q.crowded(), i > 4; got != want {
			t.Errorf("with %d of 8 looks crowded = %t, want %t", i, got, want)
		}
		q.add(inNamespace(fmt.Sprint(i), "api"))
	}
}

// FuzzLookQueue adds and takes at random: the counts of the namespaces are those of the looks, and no share is exceeded.
func FuzzLookQueue(f *testing.F) {
	f.Add([]byte("aabbccddee"), uint8(8))
	f.Fuzz(func(t *testing.T, steps []byte, limit uint8) {
		q := newLookupQueue(int(limit))
		for _, s := range steps {
			if s%5 == 0 {
				q.pop(time.Now())
			} else {
				l := inNamespace(fmt.Sprint(s%7), fmt.Sprint(s))
				l.client = fmt.Sprint(s / 64)
				q.add(l)
			}
			waiting, held := map[string]int{}, shares{}
			for p, l := range q.lookups {
				held.add(l, 1)
				waiting[p.namespace]++
				if n := waiting[p.namespace]; 4*(n-1) >= int(limit) {
					t.Fatalf("%d of %d looks are of one namespace", n, limit)
				}
			}
			if diff := cmp.Diff(held, q.shares); diff != "" {
				t.Fatalf("by client (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(waiting, q.waiting); diff != "" || len(q.order) != len(q.lookups) || len(q.lookups) > int(limit) {
				t.Fatalf("%d looks in order, %d of %d in all, by namespace (-want +got):\n%s", len(q.order), len(q.lookups), limit, diff)
			}
		}
	})
}

func TestTakeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok := newLookupQueue(1).take(ctx); ok {
			t.Error("an empty queue gave a look")
		}
	})
}

func TestManyTakersTakeEachLookOnceAndInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const looks = 1000
		q := newLookupQueue(4 * looks)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var mu sync.Mutex
		taken := map[string]int{}
		var takers sync.WaitGroup
		for range 8 {
			takers.Go(func() {
				for {
					l, ok := q.take(ctx)
					if !ok {
						return
					}
					mu.Lock()
					taken[l.name]++
					if late := time.Since(l.due); late > 0 {
						t.Errorf("%s is %v late", l.name, late)
					}
					mu.Unlock()
				}
			})
		}
		for i := range looks {
			q.add(inAWhile(fmt.Sprint(i), time.Duration(i*7919%5000)*time.Millisecond))
		}
		time.Sleep(10 * time.Second) // of the bubble's clock
		cancel()
		takers.Wait()
		for i := range looks {
			if n := taken[fmt.Sprint(i)]; n != 1 {
				t.Errorf("look %d was taken %d times", i, n)
			}
		}
	})
}
