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

func TestARegistryThatIsAskedTooMuchIsLeftAlone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		after  []string
		want   time.Duration
	}{
		"for the time that it says":          {http.StatusTooManyRequests, []string{"Retry-After", "300"}, 5 * time.Minute},
		"until the time that it says":        {http.StatusTooManyRequests, []string{"Retry-After", "Sat, 01 Jan 2000 02:00:00 GMT"}, 2 * time.Hour},
		"for a day at most":                  {http.StatusTooManyRequests, []string{"Retry-After", "2000000000"}, 24 * time.Hour},
		"for a minute if it does not say":    {http.StatusTooManyRequests, nil, time.Minute},
		"for a minute if it says no time":    {http.StatusTooManyRequests, []string{"Retry-After", "soon"}, time.Minute},
		"while it is down for a known time":  {http.StatusServiceUnavailable, []string{"Retry-After", "30"}, 30 * time.Second},
		"not because of an error of its own": {http.StatusServiceUnavailable, nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				busy, requests := true, 0
				r := newOn(roundTrip(func(request *http.Request) (*http.Response, error) {
					if request.URL.Host == "busy.test" {
						requests++
					}
					if request.URL.Host == "busy.test" && busy && request.URL.Path != "/v2/" {
						return reply(request, test.status, test.after...), nil
					}
					return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
				}))
				if _, err := r.Digest(t.Context(), "busy.test/a:v1", nil); err == nil || requests != 2 {
					t.Fatalf("the error is %v after %d requests, want one after 2: the handshake, and no repetition", err, requests)
				}
				busy = false
				if _, err := r.Digest(t.Context(), "other.test/a:v1", nil); err != nil {
					t.Errorf("another registry: %v", err)
				}
				if test.want > 0 {
					time.Sleep(test.want - time.Millisecond)
					_, err := r.Digest(t.Context(), "busy.test/b:v1", nil)
					var rest *RestError
					if !errors.As(err, &rest) || requests != 2 || time.Until(rest.Until()) != time.Millisecond {
						t.Errorf("shortly before the end the error is %v after %d requests, want a RestError after 2", err, requests)
					}
					time.Sleep(time.Millisecond)
				}
				if digest, err := r.Digest(t.Context(), "busy.test/b:v1", nil); err != nil || digest != someDigest {
					t.Errorf("afterwards it is %s, %v", digest, err)
				}
			})
		})
	}
}

// TestWhoAskedTooMuchLeavesTheRegistryAlone has the answers of a registry by user, "-" for none: what asks for a rest, and who
// may go on.
func TestWhoAskedTooMuchLeavesTheRegistryAlone(t *testing.T) {
	t.Parallel()
	const tooMany, denied, ok, down = http.StatusTooManyRequests, http.StatusUnauthorized, http.StatusOK, http.StatusServiceUnavailable
	for name, test := range map[string]struct {
		answers map[string]int
		first   []string // the logins of the question that leads to a rest
		second  []string // and of the one after it
		asks    string   // the users that ask then
		want    string   // ok, rest, or the status
	}{
		"nobody in particular, and a login goes on":               {map[string]int{"-": tooMany, "ann": ok}, nil, []string{"ann"}, "ann", "ok"},
		"nobody in particular, and others like that rest":         {map[string]int{"-": tooMany}, nil, nil, "", "rest"},
		"a login, and another one goes on":                        {map[string]int{"ann": tooMany, "bob": ok}, []string{"ann"}, []string{"bob"}, "bob", "ok"},
		"a login, and without one it goes on":                     {map[string]int{"ann": tooMany, "-": ok}, []string{"ann"}, nil, "-", "ok"},
		"a login, and the next one of the same image takes over":  {map[string]int{"ann": tooMany, "bob": ok}, []string{"ann", "bob"}, []string{"ann", "bob"}, "bob", "ok"},
		"a login, and it rests where it is not alone":             {map[string]int{"ann": tooMany, "bob": denied, "-": denied}, []string{"ann"}, []string{"bob", "ann"}, "bob,-", "rest"},
		"a login, and a no to none at all does not count instead": {map[string]int{"ann": tooMany, "-": denied}, []string{"ann"}, []string{"ann"}, "-", "rest"},
		"the last of those that ask":                              {map[string]int{"ann": denied, "-": tooMany}, []string{"ann"}, []string{"ann"}, "ann", "rest"},
		"a registry that is down, and all rest":                   {map[string]int{"ann": down, "bob": ok, "-": ok}, []string{"ann"}, []string{"bob"}, "", "rest"},
		"a no is a no if nobody rests":                            {map[string]int{"ann": denied, "bob": denied, "-": denied}, []string{"ann"}, []string{"bob"}, "bob,-", "401"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked []string
				r := newOn(func(request *http.Request) (*http.Response, error) {
					if request.URL.Path == "/v2/" {
						return reply(request, http.StatusUnauthorized, "WWW-Authenticate", `Basic realm="r"`), nil
					}
					user, _, _ := request.BasicAuth()
					if user == "" {
						user = "-"
					}
					asked = append(asked, user)
					return reply(request, test.answers[user], "Retry-After", "60", "Docker-Content-Digest", someDigest), nil
				})
				ask := func(image string, users []string) (string, []string) {
					asked = nil
					var auths [][]byte
					for _, user := range users {
						auths = append(auths, dockerConfig("r.test", user, secret))
					}
					_, err := r.Digest(t.Context(), image, auths)
					var resting *RestError
					switch {
					case err == nil:
						return "ok", asked
					case errors.As(err, &resting):
						return "rest", asked
					default:
						return fmt.Sprint(statusOf(err)), asked
					}
				}
				ask("r.test/a:v1", test.first)
				if got, users := ask("r.test/b:v1", test.second); got != test.want || strings.Join(users, ",") != test.asks {
					t.Errorf("then it is %s after %q asked, want %s after %q", got, users, test.want, test.asks)
				}
				time.Sleep(time.Minute)
				clear(test.answers)
				for _, user := range []string{"-", "ann", "bob"} {
					test.answers[user] = ok
				}
				if got, _ := ask("r.test/c:v1", test.second); got != "ok" {
					t.Errorf("after the rest it is %s", got)
				}
			})
		})
	}
}

func TestARegistryThatDoesNotAnswerHasTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newOn(roundTrip(func(request *http.Request) (*http.Response, error) {
			<-request.Context().Done()
			return nil, request.Context().Err()
		}))
		start := time.Now()
		_, err := r.Digest(t.Context(), "slow.test/a:v1", nil)
		if took := time.Since(start); err == nil || !strings.HasSuffix(err.Error(), "slow.test did not answer within 10s") || took != 10*time.Second {
			t.Errorf("it took %v to the error %v", took, err)
		}
		var rest *RestError
		if _, err := r.Digest(t.Context(), "slow.test/b:v1", nil); !errors.As(err, &rest) {
			t.Errorf("the next error is %v, want a RestError", err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Digest(ctx, "slow.test/b:v1", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own end gives %v", err)
		}
		if r.hosts.places.Len() != 0 || r.hosts.rests.Len() != 0 {
			t.Errorf("registries are remembered for no reason: %d, and %d rests", r.hosts.places.Len(), r.hosts.rests.Len())
		}
	})
}

func TestFewCallsGoOnAtTheSameTime(t *testing.T) {
	t.Parallel()
	for registries, want := range map[int]int{1: 8, 3: 16} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			now, most, total := map[string]int{}, map[string]int{}, 0
			r := newOn(roundTrip(func(request *http.Request) (*http.Response, error) {
				host := request.URL.Host
				count := func(by int) {
					mu.Lock()
					defer mu.Unlock()
					for _, key := range []string{host, "all"} {
						now[key] += by
						most[key] = max(most[key], now[key])
					}
				}
				count(1)
				defer count(-1)
				time.Sleep(time.Second)
				return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
			}))
			var wait sync.WaitGroup
			for i := range 30 {
				wait.Go(func() {
					if _, err := r.Digest(t.Context(), fmt.Sprintf("r%d.test/a:%d", i%registries, i), nil); err != nil {
						t.Error(err)
					}
					mu.Lock()
					total++
					mu.Unlock()
				})
			}
			wait.Wait()
			if total != 30 || most["all"] != want || most["r0.test"] > 8 || most["r1.test"] > 8 || most["r2.test"] > 8 {
				t.Errorf("%d calls to %d registries ended, at most %v at the same time; want 30, %d in all and 8 for one registry at most", total, registries, most, want)
			}
		})
	}
}

func TestANoHoldsForTenMinutesAndForTheSameCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		r := newOn(roundTrip(func(request *http.Request) (*http.Response, error) {
			requests++
			if request.URL.Path == "/v2/" {
				return reply(request, http.StatusOK), nil
			}
			return reply(request, http.StatusNotFound), nil
		}))
		auth := dockerConfig("r.test", "user", secret)
		for _, step := range []struct {
			after time.Duration
			auths [][]byte
			want  int
		}{{0, nil, 2}, {10*time.Minute - 1, nil, 2}, {0, [][]byte{auth}, 6}, {1, nil, 8}} {
			time.Sleep(step.after)
			_, err := r.Digest(t.Context(), "r.test/a:v1", step.auths)
			if err == nil || !strings.HasSuffix(err.Error(), "r.test answers 404 Not Found") || requests != step.want {
				t.Errorf("the error is %v after %d requests, want 404 after %d", err, requests, step.want)
			}
		}
	})
}
