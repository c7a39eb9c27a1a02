package digest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/kube-prepull/kube-prepull/api/clock"
)

// resolveTime is what registries of tests have for an answer.
var resolveTime = clock.Production().ResolveTime

const otherDigest = "sha256:aaaac44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func newTestResolver(t testing.TB, r *Registries) *Resolver {
	t.Helper()
	resolver, err := NewResolver(r, resolveTime, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return resolver
}

// counts are the lookups by result, without those that are 0.
func counts(t testing.TB, r *Resolver) map[result]int {
	t.Helper()
	found := map[result]int{}
	for _, one := range []result{remembered, joined, resolved, refused, resting, failed} {
		var m dto.Metric
		if err := r.lookups.WithLabelValues(string(one)).Write(&m); err != nil {
			t.Fatal(err)
		}
		if n := int(m.GetCounter().GetValue()); n > 0 {
			found[one] = n
		}
	}
	return found
}

// fake is a registry without authentication that takes its time for each HEAD request.
type fake struct {
	takes  time.Duration
	status int
	header []string

	mu    sync.Mutex
	heads int
}

func (f *fake) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Path == "/v2/" {
		return reply(request, http.StatusOK), nil
	}
	f.mu.Lock()
	f.heads++
	f.mu.Unlock()
	if f.takes > 0 {
		select {
		case <-time.After(f.takes):
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return reply(request, f.status, f.header...), nil
}

func (f *fake) resolver(t testing.TB) *Resolver {
	if f.status == 0 {
		f.status, f.header = http.StatusOK, []string{"Docker-Content-Digest", someDigest}
	}
	return newTestResolver(t, newOn(f.RoundTrip))
}

func TestAThousandCallersAskOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 100 * time.Millisecond}
		r := f.resolver(t)
		var wait sync.WaitGroup
		for i := range 1000 {
			wait.Go(func() {
				if digest, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", nil, i%2 == 0); err != nil || digest != someDigest {
					t.Errorf("it is %s, %v", digest, err)
				}
			})
		}
		wait.Wait()
		if got := counts(t, r); f.heads != 1 || got[resolved] != 1 || got[joined] != 999 {
			t.Errorf("%d requests, lookups %v; want 1, by one of 1000", f.heads, got)
		}
	})
}

func TestACallerThatGivesUpLeavesTheOthersTheirAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		r := f.resolver(t)
		start := time.Now()
		hurried, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wait sync.WaitGroup
		for range 2 {
			wait.Go(func() {
				if _, err := r.Resolve(hurried, "shop", "r.test/a:v1", nil, false); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 100*time.Millisecond {
					t.Errorf("the hurried one has the error %v after %v", err, time.Since(start))
				}
			})
		}
		synctest.Wait()
		if digest, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", nil, false); err != nil || digest != someDigest {
			t.Errorf("the patient one gets %s, %v", digest, err)
		}
		wait.Wait()
		if _, err := r.Resolve(hurried, "shop", "r.test/a:v1", nil, false); err != nil {
			t.Errorf("what is remembered needs no time: %v", err)
		}
		if _, err := r.Resolve(hurried, "shop", "r.test/a:v2", nil, false); !errors.Is(err, context.DeadlineExceeded) || f.heads != 1 {
			t.Errorf("no time left for a question: %v, %d requests", err, f.heads)
		}
	})
}

func TestAnswersAreRememberedForSeconds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		holds  time.Duration
		how    result
	}{
		"a digest":              {0, 3 * time.Second, resolved},
		"not found":             {http.StatusNotFound, 10 * time.Second, refused},
		"forbidden":             {http.StatusForbidden, 10 * time.Second, refused},
		"not authorized":        {http.StatusUnauthorized, 10 * time.Second, refused},
		"not a registry's own":  {http.StatusInternalServerError, 0, failed},
		"not a passing problem": {http.StatusBadGateway, 0, failed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{status: test.status}
				r := f.resolver(t)
				ask := func(fresh bool, want int) {
					t.Helper()
					digest, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", nil, fresh)
					if (err == nil) != (test.how == resolved) || Refused(err) != (test.how == refused) || (digest == someDigest) != (err == nil) || f.heads != want {
						t.Errorf("it is %s, %v after %d requests, want %d", digest, err, f.heads, want)
					}
				}
				ask(false, 1)
				if test.holds == 0 {
					ask(false, 2)
					return
				}
				time.Sleep(test.holds - time.Millisecond)
				ask(false, 1)
				time.Sleep(time.Millisecond)
				ask(false, 2)
				ask(true, 3)
				ask(false, 3)
				if got := counts(t, r); got[test.how] != 3 || got[remembered] != 2 {
					t.Errorf("lookups: %v", got)
				}
			})
		})
	}
}

func TestAMovedTagIsSeenByWhoAsksForAFreshAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		r := f.resolver(t)
		for _, step := range []struct {
			moved bool
			fresh bool
			want  string
		}{{false, false, someDigest}, {true, false, someDigest}, {true, true, otherDigest}, {true, false, otherDigest}} {
			if step.moved {
				f.header = []string{"Docker-Content-Digest", otherDigest}
			}
			if digest, err := r.Resolve(t.Context(), "shop", "r.test/a", nil, step.fresh); err != nil || digest != step.want {
				t.Errorf("%+v: it is %s, %v", step, digest, err)
			}
		}
		f.status = http.StatusBadGateway
		if _, err := r.Resolve(t.Context(), "shop", "r.test/a", nil, true); err == nil {
			t.Error("a fresh answer is a remembered one")
		}
		if digest, err := r.Resolve(t.Context(), "shop", "r.test/a", nil, false); err != nil || digest != otherDigest {
			t.Errorf("a passing problem makes what was known forgotten: %s, %v", digest, err)
		}
	})
}

func TestAnswersAreSharedOnlyAmongTheSameCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		heads := map[string]int{}
		r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
			user, _, _ := request.BasicAuth()
			switch {
			case request.URL.Path == "/v2/":
				return reply(request, http.StatusUnauthorized, "WWW-Authenticate", "Basic realm=x"), nil
			case user == "":
				heads[user]++
				return reply(request, http.StatusUnauthorized, "WWW-Authenticate", "Basic realm=x"), nil
			}
			heads[user]++
			return reply(request, http.StatusOK, "Docker-Content-Digest", map[string]string{"ann": someDigest, "bob": otherDigest}[user]), nil
		}))
		ann, bob := dockerConfig("r.test", "ann", "p"), dockerConfig("r.test", "bob", "p")
		unrelated := dockerConfig("other.test", "eve", "p")
		for name, step := range map[string]struct {
			auths [][]byte
			want  string
		}{
			"ann":                          {[][]byte{ann}, someDigest},
			"ann, with unrelated logins":   {[][]byte{unrelated, ann}, someDigest},
			"bob":                          {[][]byte{bob}, otherDigest},
			"nobody":                       {nil, ""},
			"nobody, with unrelated ones":  {[][]byte{unrelated}, ""},
			"nobody, with a broken secret": {[][]byte{[]byte("{")}, ""},
		} {
			digest, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", step.auths, false)
			if digest != step.want || Refused(err) != (step.want == "") {
				t.Errorf("%s gets %q, %v", name, digest, err)
			}
		}
		// Nobody's question is asked again in a new session, and no more.
		if heads["ann"] != 1 || heads["bob"] != 1 || heads[""] != 1 {
			t.Errorf("requests by user: %v", heads)
		}
	})
}

func TestTheSpellingsOfDockerHubAreOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.status, f.header = http.StatusOK, []string{"Docker-Content-Digest", someDigest}
		users := map[string]bool{}
		r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
			user, _, _ := request.BasicAuth()
			users[request.URL.Host+request.URL.Path+" "+user] = true
			return f.RoundTrip(request)
		}))
		for _, image := range []string{"nginx", "nginx:latest", "library/nginx", "docker.io/nginx", "docker.io/library/nginx:latest", "index.docker.io/nginx", "index.docker.io/library/nginx"} {
			for _, host := range []string{"docker.io", "index.docker.io", "https://index.docker.io/v1/"} {
				if digest, err := r.Resolve(t.Context(), "shop", image, [][]byte{dockerConfig(host, "ann", "p")}, false); err != nil || digest != someDigest {
					t.Errorf("%s with a login for %s: %s, %v", image, host, digest, err)
				}
			}
		}
		if !users["index.docker.io/v2/library/nginx/manifests/latest ann"] || f.heads != 1 {
			t.Errorf("%d requests: %v", f.heads, users)
		}
		f.status = http.StatusNotFound
		if _, err := r.Resolve(t.Context(), "shop", "nginx", nil, false); err == nil || err.Error() != "docker.io answers 404 Not Found" {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestTheRefreshersMemoryIsItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{status: http.StatusNotFound}
		r := f.resolver(t)
		for want, ask := range []func() error{
			func() error { _, err := r.registries.Digest(t.Context(), "r.test/a:v1", nil); return err },
			func() error { _, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", nil, false); return err },
			func() error { _, err := r.Resolve(t.Context(), "shop", "r.test/a:v2", nil, false); return err },
			func() error { _, err := r.registries.Digest(t.Context(), "r.test/a:v2", nil); return err },
		} {
			if err := ask(); !Refused(err) || f.heads != want+1 {
				t.Errorf("the error is %v after %d requests, want a refusal after %d", err, f.heads, want+1)
			}
		}
	})
}

func TestNothingIsAskedAboutWhatNamesNoTag(t *testing.T) {
	t.Parallel()
	f := &fake{}
	r := f.resolver(t)
	if digest, err := r.Resolve(t.Context(), "shop", "r.test/a:v1@"+otherDigest, nil, true); err != nil || digest != otherDigest {
		t.Errorf("an image with a digest has %s, %v", digest, err)
	}
	for _, image := range []string{"", "r.test/UPPER", "a b", "r.test/a:", "r.test/a@sha256:1", strings.Repeat("a", 5000), "r.test/a:v1?x=" + secret} {
		if _, err := r.Resolve(t.Context(), "shop", image, nil, false); err == nil || len(err.Error()) > 200 || strings.Contains(err.Error(), secret) {
			t.Errorf("%.40s has the error %v", image, err)
		}
	}
	if f.heads != 0 {
		t.Errorf("%d requests", f.heads)
	}
}

func TestEveryResultIsCountedFromTheStart(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	if _, err := NewResolver(New(Options{}), resolveTime, registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "kube_prepull_digest_lookups_total" || len(families[0].GetMetric()) != 6 {
		t.Errorf("the metrics are %v, %v", families, err)
	}
	if _, err := NewResolver(New(Options{}), resolveTime, registry); err == nil {
		t.Error("two of them count in the same place")
	}
}
