package abuse

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// slowRegistries are 120 that answer just before nobody waits any more, and are asked again and again for the images of one
// namespace. Those of another one are pinned meanwhile.
func slowRegistries(ctx context.Context, t *testing.T, s *siege, greedy *lab.Pinning) {
	var asked atomic.Int64
	var all []string
	for range 120 {
		all = append(all, serve(ctx, t, s.HostIP(), func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				asked.Add(1)
				pause(r.Context(), 1400*time.Millisecond)
			}
			w.WriteHeader(http.StatusOK)
		}))
	}
	s.inParallel(ctx, t, 6, func(client kubernetes.Interface, i int) {
		d := lab.Deployment(fmt.Sprint("slow-", i), "", 0)
		d.Spec.Template.Spec.Containers = nil
		for j := range 50 {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{
				Name: fmt.Sprint("c", j), Image: fmt.Sprintf("%s/app:v%d", all[(50*i+j)%len(all)], i),
			})
		}
		_, _ = client.AppsV1().Deployments(greedy.Name).Create(ctx, d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	})
	t.Logf("they were asked %d times", asked.Load())
	if asked.Load() < 20 {
		t.Error("that is no attack")
	}
}

// hugeRevisions are ReplicaSets with the labels of a Deployment, which are read for each change of its template.
func hugeRevisions(ctx context.Context, t *testing.T, s *siege, greedy *lab.Pinning) {
	d := lab.Deployment("many-revisions", greedy.Image("app:v1"), 0)
	greedy.AdmitNew(t, d)
	long := strings.Repeat("x", 1_200_000)
	for i := range 40 {
		template := *d.Spec.Template.DeepCopy()
		template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "LARGE", Value: long}}
		set := &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("revision-", i), Labels: d.Spec.Selector.MatchLabels},
			Spec:       appsv1.ReplicaSetSpec{Replicas: new(int32), Selector: d.Spec.Selector, Template: template},
		}
		// The Deployment adopts them, and keeps them all.
		if _, err := s.Client().AppsV1().ReplicaSets(greedy.Name).Create(context.WithoutCancel(ctx), set, metav1.CreateOptions{}); err != nil {
			t.Error(err)
			return
		}
	}
	s.inParallel(ctx, t, 10, func(client kubernetes.Interface, i int) {
		patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"try":"%d"}}}}}`, i)
		_, _ = client.AppsV1().Deployments(greedy.Name).Patch(ctx, d.Name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	})
}

// misleading registries send a manager to another address inside, that of a pod, by a redirect and for a token. They may send it to
// another port of their own address: whoever names them could name that as well.
func misleading(ctx context.Context, t *testing.T, s *siege, greedy *lab.Pinning) {
	redirects := serve(ctx, t, s.HostIP(), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+s.relay+r.URL.Path, http.StatusTemporaryRedirect)
	})
	challenges := serve(ctx, t, s.HostIP(), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+s.relay+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	redirected := greedy.AdmitNew(t, lab.Deployment("redirected", redirects+"/app:v1", 0))
	redirected.WantPins(t, nil)
	redirected.WantWarning(t, "it leads to a private address, which was refused")
	challenged := greedy.AdmitNew(t, lab.Deployment("challenged", challenges+"/app:v1", 0))
	challenged.WantPins(t, nil)
	t.Logf("a token server inside is told as %q", challenged.Warnings)
	<-ctx.Done()
}

// exhausted is a registry that has enough of those without a login. Whoever has one is answered.
func exhausted(ctx context.Context, t *testing.T, s *siege, greedy, paying *lab.Pinning) {
	host := serve(ctx, t, s.HostIP(), func(w http.ResponseWriter, r *http.Request) {
		_, _, login := r.BasicAuth()
		switch {
		case login:
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("5", 64))
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		case r.URL.Path == "/v2/":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("Retry-After", "300")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	greedy.AdmitNew(t, lab.Deployment("exhausting", host+"/app:v1", 0)).WantWarning(t, "429")
	pullSecret(t, s.Product, paying.Name, "paid", map[string]any{host: map[string]string{"username": "clerk", "password": "paid"}})
	d := lab.Deployment("paying", host+"/other:v1", 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "paid"}}
	paying.AdmitNew(t, d).WantPins(t, map[string]string{"pin.kube-prepull.io/app": host + "/other:v1@sha256:" + strings.Repeat("5", 64)})
	<-ctx.Done()
}

// serve is a registry at an address of its own until the attack ends.
func serve(ctx context.Context, t *testing.T, ip string, answer http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	go server.Serve(l) //nolint:errcheck // it ends with the attack
	context.AfterFunc(ctx, func() { server.Close() })
	return l.Addr().String()
}

// inParallel sends requests to the API server until ctx ends, so many at a time.
func (s *siege) inParallel(ctx context.Context, t *testing.T, goroutines int, do func(client kubernetes.Interface, i int)) {
	config := s.Config()
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Error(err)
		return
	}
	s.by(ctx, goroutines, func(_ context.Context, _ string, i int) { do(client, i) })
}
