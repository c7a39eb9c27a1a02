package abuse

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// hostileAnswers are those of a registry that a user of an opted-in namespace runs: small on the wire, and large for whoever keeps
// what is in them. The names come first among those whose size is asked.
func hostileAnswers(ctx context.Context, t *testing.T, s *siege) {
	const size = 4 << 20
	fill := func(start, part, end string) string {
		return start + strings.TrimSuffix(strings.Repeat(part, (size-len(start)-len(end))/len(part)), ",") + end
	}
	bodies := map[string]string{
		"/v2/0/a/manifests/v1": fill(`{"config":{},"layers":[`, "0,", "]}"),
		"/v2/0/b/manifests/v1": fill(`{"config":{},"layers":[`, "{},", "]}"),
		"/v2/0/c/manifests/v1": fill(`{"manifests":[`, "{},", "]}"),
		"/v2/0/d/manifests/v1": fill(`{`, `"":{},`, "}"),
	}
	var mu sync.Mutex
	asked := map[string]int{}
	l, err := net.Listen("tcp", net.JoinHostPort(s.HostIP(), "0"))
	if err != nil {
		t.Error(err)
		return
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, found := bodies[r.URL.Path]
		if found && r.Method == http.MethodGet && strings.HasPrefix(r.Header.Get("User-Agent"), "kube-prepull") {
			mu.Lock()
			asked[r.URL.Path]++
			mu.Unlock()
		}
		_, _ = w.Write([]byte(body)) // whoever has had enough hangs up
	})}
	go server.Serve(l) //nolint:errcheck // it ends with the attack
	defer server.Close()
	d := lab.Deployment("answers-of-its-own", l.Addr().String()+"/0/a:v1", 0)
	for _, name := range []string{"b", "c", "d"} {
		c := d.Spec.Template.Spec.Containers[0]
		c.Name, c.Image = name, l.Addr().String()+"/0/"+name+":v1"
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, c)
	}
	s.Deploy(t, "besieged", d)
	lab.Eventually(t, "a manager to ask for all of them", func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(asked) < len(bodies) {
			return fmt.Errorf("it asked for %d of %d images", len(asked), len(bodies))
		}
		return nil
	})
	<-ctx.Done()
}
