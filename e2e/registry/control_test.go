package registry

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestControl(t *testing.T) {
	t.Parallel()
	const manifest, blob = "/v2/app/manifests/v1", "/v2/app/blobs/sha256:1"
	meets := func(path string, want Fault) func(*Registry) bool {
		return func(r *Registry) bool {
			met := r.faults.meet(parse(path), http.MethodGet)
			return met != nil && met.Fault == want
		}
	}
	for name, tc := range map[string]struct {
		requests []string
		holds    func(*Registry) bool
	}{
		"bandwidth": {[]string{"PUT /bandwidth?bits=8000000"}, func(r *Registry) bool {
			return r.bandwidth.current.Load().limiter.Limit() == 1_000_000
		}},
		"no bandwidth cap": {[]string{"PUT /bandwidth?bits=8", "PUT /bandwidth?bits=0"}, func(r *Registry) bool {
			return r.bandwidth.current.Load() == nil
		}},
		"latency":          {[]string{"PUT /latency?delay=20ms"}, func(r *Registry) bool { return r.latency.Load() == 20e6 }},
		"down":             {[]string{"PUT /down"}, func(r *Registry) bool { return r.gate.shut }},
		"back":             {[]string{"PUT /down", "DELETE /down"}, func(r *Registry) bool { return !r.gate.shut }},
		"a status":         {[]string{"PUT /fault?repo=*&status=404"}, meets(manifest, Refuse(404))},
		"a 429":            {[]string{"PUT /fault?repo=*&status=429"}, meets(manifest, Refuse(429))},
		"a 429 with hint":  {[]string{"PUT /fault?repo=*&status=429&retry-after=5s"}, meets(manifest, TooManyRequests(5*time.Second))},
		"a hang":           {[]string{"PUT /fault?repo=app&hang=true"}, meets(manifest, Hang())},
		"a cut":            {[]string{"PUT /fault?repo=app&cut-after=7"}, meets(blob, CutAfter(7))},
		"a cut at once":    {[]string{"PUT /fault?repo=app&cut-after=0"}, meets(blob, CutAfter(0))},
		"the first two":    {[]string{"PUT /fault?repo=app&status=500&first=2"}, meets(manifest, Refuse(500).First(2))},
		"a fault lifted":   {[]string{"PUT /fault?repo=app&hang=true", "DELETE /fault?repo=app"}, func(r *Registry) bool { return len(r.faults.all) == 0 }},
		"counts from zero": {[]string{"DELETE /counts"}, func(r *Registry) bool { return len(r.AllCounts()) == 0 }},
		"private": {[]string{"PUT /private?repo=app&user=u&password=p&token=true"}, func(r *Registry) bool {
			a, _ := r.auth.find("app")
			return a == Auth{User: "u", Password: "p", Token: true, TokenLife: defaultTokenLife}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Registry
			r.counts.add("app", Counts{BlobGets: 1})
			for _, request := range tc.requests {
				if w := control(&r, request); w.Code != http.StatusNoContent {
					t.Fatalf("%s: status %d: %s", request, w.Code, w.Body)
				}
			}
			if !tc.holds(&r) {
				t.Errorf("%v did nothing", tc.requests)
			}
		})
	}
}

func control(r *Registry, request string) *httptest.ResponseRecorder {
	method, target, _ := strings.Cut(request, " ")
	w := httptest.NewRecorder()
	r.Control().ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestControlReadsCounts(t *testing.T) {
	t.Parallel()
	var r Registry
	r.counts.add("app", Counts{BlobGets: 1, BlobBytes: 5})
	want := `{"app":{"manifestGets":0,"manifestHeads":0,"blobGets":1,"blobHeads":0,"tokenRequests":0,"blobBytes":5}}`
	if diff := cmp.Diff(want, strings.TrimSpace(control(&r, "GET /counts").Body.String())); diff != "" {
		t.Error(diff)
	}
}

func TestControlRefuses(t *testing.T) {
	t.Parallel()
	for request, status := range map[string]int{
		"PUT /bandwidth":                                         400,
		"PUT /bandwidth?bits=fast":                               400,
		"PUT /latency?delay=5":                                   400,
		"PUT /fault?status=404":                                  400,
		"PUT /fault?repo=app":                                    400,
		"PUT /fault?repo=app&status=200":                         400,
		"PUT /fault?repo=app&status=no":                          400,
		"PUT /fault?repo=app&status=500&first=-1":                400,
		"PUT /fault?repo=app&cut-after=half":                     400,
		"PUT /fault?repo=app&status=429&retry-after=in+a+moment": 400,
		"PUT /private?repo=app":                                  400,
		"POST /down":                                             405,
		"GET /":                                                  404,
	} {
		var r Registry
		if w := control(&r, request); w.Code != status {
			t.Errorf("%s: status %d, want %d", request, w.Code, status)
		}
		if len(r.faults.all) > 0 {
			t.Errorf("%s set a fault", request)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, []string{"-addr=127.0.0.1:0", "-control=127.0.0.1:0", "-dir=" + dir, "-latency=1ms", "-bandwidth=1000"}, stdout)
	}()
	lines := bufio.NewScanner(out)
	for _, want := range []struct{ key, path string }{{"REGISTRY=", "/v2/"}, {"CONTROL=", "/counts"}} {
		if !lines.Scan() {
			t.Fatalf("no line with %s", want.key)
		}
		addr, ok := strings.CutPrefix(lines.Text(), want.key)
		if !ok {
			t.Fatalf("%q has no %s", lines.Text(), want.key)
		}
		if resp, _, err := get(t, "http://"+addr+want.path); err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: status %d, error %v", want.key, resp.StatusCode, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"an unknown argument":        {"-fast"},
		"a bad address":              {"-addr=nowhere"},
		"a bad address for control":  {"-addr=127.0.0.1:0", "-control=nowhere"},
		"a directory that is no one": {"-addr=127.0.0.1:0", "-dir=/nowhere"},
	} {
		if err := Run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
