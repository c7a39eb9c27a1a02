package digest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestEqualQuestionsOfNamespacesAreOneCall has more namespaces than places, so that some wait for their turn.
func TestEqualQuestionsOfNamespacesAreOneCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		r := f.resolver(t)
		var asking sync.WaitGroup
		for i := range 4 * maxCalls {
			asking.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%2)*700*time.Millisecond)
				defer cancel()
				digest, err := r.Resolve(ctx, fmt.Sprint("shop-", i), "r.test/a:v1", nil, i%3 == 0)
				if i%2 == 0 && !errors.Is(err, context.DeadlineExceeded) || i%2 == 1 && (err != nil || digest != someDigest) {
					t.Errorf("namespace %d gets %q, %v", i, digest, err)
				}
			})
		}
		asking.Wait()
		synctest.Wait() // the last question is put away after its answer was taken
		if got := counts(t, r); f.heads != 1 || got[resolved] > 1 {
			t.Errorf("%d requests, lookups %v", f.heads, got)
		}
		if len(r.flights)+len(r.calls)+len(r.asking)+r.registries.hosts.places.Len() != 0 {
			t.Errorf("%d questions, %d calls and %d registries are left", len(r.flights), len(r.calls), r.registries.hosts.places.Len())
		}
	})
}

// A login answers nobody else, though all ask at the same time.
func TestQuestionsWithOtherLoginsAreNotJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
			user, _, _ := request.BasicAuth()
			digest, known := map[string]string{"ann": someDigest, "bob": otherDigest}[user]
			if request.URL.Path != "/v2/" {
				time.Sleep(100 * time.Millisecond)
			}
			if !known {
				return reply(request, http.StatusUnauthorized, "WWW-Authenticate", "Basic realm=x"), nil
			}
			return reply(request, http.StatusOK, "Docker-Content-Digest", digest), nil
		}))
		ann, bob := dockerConfig("r.test", "ann", "p"), dockerConfig("r.test", "bob", "p")
		var asking sync.WaitGroup
		for namespace, test := range map[string]struct {
			auths [][]byte
			want  string
		}{
			"a":                         {[][]byte{ann}, someDigest},
			"a second one of ann":       {[][]byte{ann}, someDigest},
			"b":                         {[][]byte{bob}, otherDigest},
			"without a login":           {nil, ""},
			"the login of another host": {[][]byte{dockerConfig("other.test", "ann", "p")}, ""},
		} {
			asking.Go(func() {
				digest, err := r.Resolve(t.Context(), namespace, "r.test/a:v1", test.auths, false)
				if digest != test.want || Refused(err) != (test.want == "") {
					t.Errorf("%s gets %q, %v", namespace, digest, err)
				}
			})
		}
		asking.Wait()
	})
}

// Who has waited for its turn takes an answer that came meanwhile, also where it wants a fresh one; but none from before.
func TestAFreshAnswerIsNoneFromBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 100 * time.Millisecond}
		r := f.resolver(t)
		for i, namespace := range []string{"a", "b", "a"} {
			if _, err := r.Resolve(t.Context(), namespace, "r.test/a:v1", nil, true); err != nil || f.heads != i+1 {
				t.Errorf("%s: %v after %d requests, want %d", namespace, err, f.heads, i+1)
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// A question that is being asked needs no place for another namespace; one that waits for its turn is not waited for.
func TestAnEqualQuestionThatIsAskedNeedsNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		r := f.resolver(t)
		var asking sync.WaitGroup
		const tags = maxCallsPerRegistry + 4
		for i := range tags {
			asking.Go(func() { r.Resolve(t.Context(), "greedy", fmt.Sprintf("r.test/a:%d", i), nil, false) })
			synctest.Wait()
		}
		for i, want := range map[int]time.Duration{0: time.Second, maxCallsPerRegistry + 3: 2 * time.Second} {
			asking.Go(func() {
				start := time.Now()
				_, err := r.Resolve(t.Context(), "modest", fmt.Sprintf("r.test/a:%d", i), nil, false)
				if took := time.Since(start); err != nil || took != want {
					t.Errorf("question %d took %v (%v)", i, took, err)
				}
			})
		}
		asking.Wait()
		if f.heads != tags {
			t.Errorf("%d requests for %d tags", f.heads, tags)
		}
	})
}
