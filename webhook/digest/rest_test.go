package digest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneRegistryThatHangsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		hangs := true
		f.status, f.header = http.StatusOK, []string{"Docker-Content-Digest", someDigest}
		r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
			if request.URL.Host == "hang.test" && hangs {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}
			return f.RoundTrip(request)
		}))
		start := time.Now()
		var mu sync.Mutex
		var wait sync.WaitGroup
		words := map[string]int{}
		for i := range 50 {
			wait.Go(func() {
				_, err := r.Resolve(t.Context(), "shop", fmt.Sprintf("hang.test/a:%d", i), nil, false)
				mu.Lock()
				defer mu.Unlock()
				words[fmt.Sprint(err)]++
				if took := time.Since(start); took > resolveTime {
					t.Errorf("it took %v", took)
				}
			})
		}
		synctest.Wait()
		if _, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", nil, false); err != nil || time.Since(start) != 0 {
			t.Errorf("another registry has the error %v after %v", err, time.Since(start))
		}
		wait.Wait()
		// Those that waited give up when the first ones do, or hear what these learned.
		if words["hang.test did not answer within 1.5s"] != maxCallsPerRegistry {
			t.Errorf("the errors are %v", words)
		}
		until := time.Now().Add(silentRest)
		_, err := r.Resolve(t.Context(), "shop", "hang.test/b", nil, true)
		var rest *RestError
		if !errors.As(err, &rest) || !rest.Until().Equal(until) || rest.Registry != "hang.test" || time.Since(start) != resolveTime {
			t.Errorf("later the error is %v after %v, want a rest until %v", err, time.Since(start), until)
		}
		hangs = false
		time.Sleep(silentRest)
		if _, err := r.Resolve(t.Context(), "shop", "hang.test/b", nil, false); err != nil {
			t.Errorf("after its rest: %v", err)
		}
		if got := counts(t, r); got[resting]+got[failed] != 51 || got[resting] == 0 {
			t.Errorf("lookups: %v", got)
		}
	})
}

func TestARegistryThatAsksForARestIsNotAskedByAdmissions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{status: http.StatusTooManyRequests, header: []string{"Retry-After", "60"}}
		r := f.resolver(t)
		if _, err := r.Resolve(t.Context(), "shop", "r.test/a", nil, false); err == nil || err.Error() != "r.test answers 429 Too Many Requests" {
			t.Errorf("the error is %v", err)
		}
		until := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
		for range 3 {
			if _, err := r.Resolve(t.Context(), "shop", "r.test/b", nil, true); err == nil || err.Error() != "r.test is left alone until "+until {
				t.Errorf("the error is %v", err)
			}
		}
		if _, err := r.registries.Digest(t.Context(), "r.test/b", nil); err == nil || f.heads != 1 {
			t.Errorf("the refresher has the error %v after %d requests", err, f.heads)
		}
		f.status, f.header = 0, nil
		time.Sleep(time.Minute)
		f.status, f.header = http.StatusOK, []string{"Docker-Content-Digest", someDigest}
		if _, err := r.Resolve(t.Context(), "shop", "r.test/b", nil, false); err != nil {
			t.Errorf("after its rest: %v", err)
		}
		if got := counts(t, r); got[resting] != 3 || got[failed] != 1 || got[resolved] != 1 {
			t.Errorf("lookups: %v", got)
		}
	})
}

func TestARegistryIsNotLeftAloneForBeingBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: resolveTime * 3 / 4}
		r := f.resolver(t)
		var wait sync.WaitGroup
		for i := range 100 {
			wait.Go(func() {
				_, err := r.Resolve(t.Context(), "shop", fmt.Sprintf("r.test/a:%d", i), nil, false)
				if err != nil && err.Error() != "r.test: too many questions are before this one" {
					t.Errorf("the error is %v", err)
				}
			})
		}
		wait.Wait()
		if got := counts(t, r); got[resolved] != 16 || got[failed] != 84 {
			t.Errorf("lookups: %v, want two rounds of 8", got)
		}
		if _, err := r.Resolve(t.Context(), "shop", "r.test/b", nil, false); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestManyWrongLoginsAreNotTheRegistrysFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 300 * time.Millisecond, status: http.StatusUnauthorized}
		r := f.resolver(t)
		var auths [][]byte
		for i := range 50 {
			auths = append(auths, dockerConfig("r.test", fmt.Sprint("user", i), secret))
		}
		start := time.Now()
		if _, err := r.Resolve(t.Context(), "shop", "r.test/a", auths, false); err == nil || err.Error() != "r.test did not answer within 1.5s" || time.Since(start) != resolveTime {
			t.Errorf("the error is %v after %v", err, time.Since(start))
		}
		f.status, f.header = http.StatusOK, []string{"Docker-Content-Digest", someDigest}
		if _, err := r.Resolve(t.Context(), "shop", "r.test/a", nil, false); err != nil {
			t.Errorf("others are refused for it: %v", err)
		}
	})
}

func TestQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		r := f.resolver(t)
		var wait sync.WaitGroup
		for i := range 2 * maxFlights {
			wait.Go(func() {
				r.Resolve(t.Context(), fmt.Sprint("shop-", i%8), fmt.Sprintf("r%d.test/a", i), nil, false)
			})
		}
		synctest.Wait()
		if len(r.flights) != maxFlights {
			t.Errorf("%d questions at the same time, want %d", len(r.flights), maxFlights)
		}
		wait.Wait()
		if len(r.flights) != 0 || r.registries.hosts.places.Len() != 0 {
			t.Errorf("%d questions and %d registries are left", len(r.flights), r.registries.hosts.places.Len())
		}
	})
}

// One namespace asks for images of very many registries, each of which answers just in time, again and again.
func TestANamespaceThatAsksSlowRegistriesLeavesPlacesToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
			if strings.HasSuffix(request.URL.Host, ".slow.test") && request.URL.Path != "/v2/" {
				time.Sleep(1400 * time.Millisecond)
			}
			return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
		}))
		var asking sync.WaitGroup
		for i := range 2 * maxFlights {
			asking.Go(func() {
				r.Resolve(t.Context(), "greedy", fmt.Sprintf("%d.slow.test/a", i), nil, false)
			})
			// What others use as well, so that they would wait for the turn of the greedy one.
			asking.Go(func() {
				r.Resolve(t.Context(), "greedy", fmt.Sprintf("r.test/a:%d", i), nil, false)
			})
		}
		synctest.Wait()
		for i := range 40 {
			asking.Go(func() {
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
				defer cancel()
				if _, err := r.Resolve(ctx, "modest", fmt.Sprintf("r.test/a:%d", i), nil, false); err != nil {
					t.Errorf("question %d has no answer after %v: %v", i, time.Since(start), err)
				}
			})
		}
		asking.Wait()
		if len(r.flights)+len(r.asking)+r.registries.hosts.places.Len() != 0 {
			t.Errorf("%d questions and %d registries are left", len(r.flights), r.registries.hosts.places.Len())
		}
	})
}

func TestThatARegistryRestsIsSaidEvenWhereAllPlacesAreTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHosts()
		asking := []key{keyOf()}
		leave, err := h.enter(t.Context(), "r.test", "", asking)
		if err != nil {
			t.Fatal(err)
		}
		leave(rest{time.Hour, everybody})
		for i := range maxCalls {
			if _, err := h.enter(t.Context(), fmt.Sprintf("r%d.test", i), fmt.Sprint("shop-", i), asking); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var rest *RestError
		if _, err := h.enter(ctx, "r.test", "", asking); !errors.As(err, &rest) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestARestGetsNoShorter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHosts()
		who := keyOf("ann")
		for _, test := range []struct{ first, then, want rest }{
			{rest{time.Hour, who}, rest{time.Second, who}, rest{time.Hour, who}},
			{rest{time.Second, who}, rest{time.Hour, who}, rest{time.Hour, who}},
			{rest{time.Hour, everybody}, rest{time.Second, who}, rest{time.Hour, who}},
			{rest{time.Second, everybody}, rest{time.Hour, who}, rest{time.Hour, who}},
		} {
			name := fmt.Sprint(test)
			h.leaveAlone(name, test.first)
			h.leaveAlone(name, test.then)
			if got := time.Until(h.restOf(name, test.want.whom)); got != test.want.of {
				t.Errorf("%v and then %v is a rest of %v", test.first.of, test.then.of, got)
			}
		}
	})
}

func TestRestsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHosts()
		for i := range maxRests + 10 {
			who := keyOf(fmt.Sprint(i % 100))
			leave, err := h.enter(t.Context(), fmt.Sprintf("r%d.test", i/100), "", []key{who})
			if err != nil {
				t.Fatal(err)
			}
			leave(rest{time.Hour, who})
		}
		if h.rests.Len() != maxRests || h.places.Len() != 0 {
			t.Errorf("%d rests and %d registries are remembered", h.rests.Len(), h.places.Len())
		}
	})
}

func TestAPanicIsAnErrorAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{status: http.StatusOK, header: []string{"Docker-Content-Digest", someDigest}}
		broken := true
		r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
			if broken {
				panic(secret)
			}
			return f.RoundTrip(request)
		}))
		for range maxCalls + 1 {
			if _, err := r.Resolve(t.Context(), "shop", "r.test/a", nil, false); err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("the error is %v", err)
			}
		}
		broken = false
		if _, err := r.Resolve(t.Context(), "shop", "r.test/a", nil, false); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
