package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// The API server's view of some tokens.
func testAsk(_ context.Context, token, path string) (int, error) {
	switch token {
	case "prometheus":
		if path == "/metrics" {
			return http.StatusOK, nil
		}
		return http.StatusForbidden, nil
	case "shop":
		return http.StatusForbidden, nil
	case "unlucky":
		return 0, fmt.Errorf(`proxy: bad request {"spec":{"token":"%s"}}`, token)
	}
	if len(token) > maxTokenLength || strings.ContainsAny(token, "\" ") {
		return 0, errors.New("this is not to be asked")
	}
	return http.StatusUnauthorized, nil
}

var metricsPage = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "kube_prepull_nodes 1\n") })

func scrape(g http.Handler, method, path, authorization string) *httptest.ResponseRecorder {
	return scrapeFrom("192.0.2.1", g, method, path, authorization)
}

func scrapeFrom(client string, g http.Handler, method, path, authorization string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	request.RemoteAddr = client + ":1234"
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response := httptest.NewRecorder()
	g.ServeHTTP(response, request)
	return response
}

func TestMetricsAreForThoseWhoMayGetThem(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method, path, authorization string
		want                        int
	}{
		"who may":                            {"GET", "/metrics", "Bearer prometheus", 200},
		"the scheme in another case":         {"GET", "/metrics", "bearer  prometheus ", 200},
		"who may, of something else":         {"GET", "/debug", "Bearer prometheus", 403},
		"who may not":                        {"GET", "/metrics", "Bearer shop", 403},
		"nobody's token":                     {"GET", "/metrics", "Bearer forged", 401},
		"no token":                           {"GET", "/metrics", "", 401},
		"an empty token":                     {"GET", "/metrics", "Bearer ", 401},
		"a password":                         {"GET", "/metrics", "Basic prometheus", 401},
		"what no token looks like":           {"GET", "/metrics", `Bearer "prometheus"`, 401},
		"two tokens":                         {"GET", "/metrics", "Bearer prometheus prometheus", 401},
		"an endless token":                   {"GET", "/metrics", "Bearer " + strings.Repeat("a", maxTokenLength+1), 401},
		"writing":                            {"POST", "/metrics", "Bearer prometheus", 405},
		"an API server that cannot be asked": {"GET", "/metrics", "Bearer unlucky", 500},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response := scrape(newMetricsGuard(testAsk, logr.Discard(), metricsPage), tt.method, tt.path, tt.authorization)
			if response.Code != tt.want {
				t.Errorf("status %d, want %d", response.Code, tt.want)
			}
			if served := strings.Contains(response.Body.String(), "kube_prepull_"); served != (tt.want == 200) {
				t.Errorf("status %d with %q", response.Code, response.Body)
			}
		})
	}
}

func TestATokenIsNeverTold(t *testing.T) {
	t.Parallel()
	var logged []string
	log := funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{})
	response := scrape(newMetricsGuard(testAsk, log, metricsPage), "GET", "/metrics", "Bearer unlucky")
	if len(logged) != 1 || !strings.Contains(logged[0], "proxy: bad request") {
		t.Errorf("the log is %q, want what went wrong, once", logged)
	}
	for _, text := range append(logged, response.Body.String(), fmt.Sprint(response.Header())) {
		if strings.Contains(text, "unlucky") {
			t.Errorf("it is in %q", text)
		}
	}
}

func TestAnswersAreRememberedForAWhile(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		token    string
		good     time.Duration // how long it holds
		errAtAll bool
	}{
		"who may":                {"prometheus", time.Minute, false},
		"who may not":            {"shop", 10 * time.Second, false},
		"nobody's token":         {"forged", 10 * time.Second, false},
		"what could not be told": {"unlucky", 0, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				g := newMetricsGuard(func(ctx context.Context, token, path string) (int, error) {
					asked++
					return testAsk(ctx, token, path)
				}, logr.Discard(), metricsPage)
				scrape(g, "GET", "/metrics", "Bearer "+tt.token)
				time.Sleep(max(tt.good-1, 0))
				scrape(g, "GET", "/metrics", "Bearer "+tt.token)
				if want := map[bool]int{false: 1, true: 2}[tt.errAtAll]; asked != want {
					t.Errorf("the API server was asked %d times, want %d", asked, want)
				}
				time.Sleep(2 * time.Nanosecond)
				before := asked
				scrape(g, "GET", "/metrics", "Bearer "+tt.token)
				if asked != before+1 {
					t.Error("the answer is remembered for longer")
				}
			})
		})
	}
}

// A flood of forged tokens, each another one from one of many clients, is no flood for the API server, and does not keep out
// who is known.
func TestAFloodIsNotPassedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked, now, most int
		g := newMetricsGuard(func(ctx context.Context, token, path string) (int, error) {
			mu.Lock()
			asked, now = asked+1, now+1
			most = max(most, now)
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return testAsk(ctx, token, path)
		}, logr.Discard(), metricsPage)
		if scrape(g, "GET", "/metrics", "Bearer prometheus").Code != 200 {
			t.Fatal("it is not let in at first")
		}
		for second := range 50 {
			for i := range 500 {
				go scrapeFrom(fmt.Sprintf("198.51.100.%d", i%50), g, "GET", "/metrics", fmt.Sprintf("Bearer forged.%d.%d", second, i))
				if i%20 == 0 {
					time.Sleep(time.Second / 25)
				}
			}
			if got := scrape(g, "GET", "/metrics", "Bearer prometheus").Code; got != 200 {
				t.Fatalf("who is known gets %d after %d seconds", got, second)
			}
		}
		time.Sleep(time.Second) // until all of them are answered
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if limit := questionBurst + 50*questionRate + 1; asked > limit || asked < questionBurst {
			t.Errorf("the API server was asked %d times, want %d at most", asked, limit)
		}
		if most > maxQuestions {
			t.Errorf("it was asked %d things at a time, want %d at most", most, maxQuestions)
		}
	})
}

// A flood from one client leaves questions for others, whose tokens are new or have to be asked about again.
func TestAFloodOfOneClientKeepsOutNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newMetricsGuard(testAsk, logr.Discard(), metricsPage)
		for second := range 180 {
			for i := range 50 {
				scrapeFrom("198.51.100.1", g, "GET", "/metrics", fmt.Sprintf("Bearer forged.%d.%d", second, i))
			}
			if got := scrapeFrom("192.0.2.1", g, "GET", "/metrics", "Bearer prometheus").Code; got != 200 {
				t.Fatalf("who may gets %d after %d seconds", got, second)
			}
			time.Sleep(time.Second)
		}
	})
}

// An API server that hangs is not waited for.
func TestAQuestionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newMetricsGuard(func(ctx context.Context, _, _ string) (int, error) {
			<-ctx.Done()
			return 0, errors.New("no answer")
		}, logr.Discard(), metricsPage)
		start := time.Now()
		if got := scrape(g, "GET", "/metrics", "Bearer prometheus").Code; got != 500 {
			t.Errorf("status %d, want 500", got)
		}
		if took := time.Since(start); took != questionTime {
			t.Errorf("it took %s", took)
		}
	})
}

func TestAllOfAUserIsAskedAbout(t *testing.T) {
	t.Parallel()
	got := accessReview(authenticationv1.UserInfo{
		Username: "prometheus", UID: "1", Groups: []string{"monitoring"}, Extra: map[string]authenticationv1.ExtraValue{"scopes": {"a", "b"}},
	}, "/metrics").Spec
	want := authorizationv1.SubjectAccessReviewSpec{
		User: "prometheus", UID: "1", Groups: []string{"monitoring"}, Extra: map[string]authorizationv1.ExtraValue{"scopes": {"a", "b"}},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the question (-want +got):\n%s", diff)
	}
}
