package abuse

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// siege is a pod without any credentials that does to the managers whatever it can reach them with.
type siege struct {
	*lab.Product
	relay    string   // in that pod
	managers []string // where they take reviews
	client   *http.Client
}

func newSiege(t *testing.T, p *lab.Product) *siege {
	t.Helper()
	pod := lab.PodOn("node-2", "attacker", p.Push(t, "siege/attacker:v1", images.Image{Seed: 901}))
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "RELAY", Value: "7000"}}
	lab.StartPod(t, p.Cluster, pod)
	t.Cleanup(func() {
		if err := p.Client().CoreV1().Pods("default").Delete(context.Background(), "attacker", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	s := &siege{Product: p, relay: net.JoinHostPort(lab.WaitPod(t, p.Cluster, "attacker", lab.PodRunning).Status.PodIP, "7000")}
	for _, manager := range p.Managers(t) {
		s.managers = append(s.managers, net.JoinHostPort(manager.Status.PodIP, "9443"))
	}
	s.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, address string) (net.Conn, error) { return s.dial(ctx, address) },
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		MaxIdleConnsPerHost: 500,
	}}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

// dial connects to an address from the attacker's pod.
func (s *siege) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", s.relay)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, address+"\n"); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// secure is a connection like dial's after a TLS handshake.
func (s *siege) secure(ctx context.Context, address string) (net.Conn, error) {
	conn, err := s.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// by does something in so many goroutines until ctx ends, to the managers in turn. What comes of it is the attacker's problem.
func (s *siege) by(ctx context.Context, goroutines int, do func(ctx context.Context, manager string, i int)) {
	var running sync.WaitGroup
	for g := range goroutines {
		running.Go(func() {
			for i := g; ctx.Err() == nil; i += goroutines {
				do(ctx, s.managers[i%len(s.managers)], i/len(s.managers))
			}
		})
	}
	running.Wait()
}

// post sends a body, and returns what is answered.
func (s *siege) post(ctx context.Context, url, contentType string, length int64, body io.Reader) (int, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return 0, ""
	}
	request.ContentLength = length
	request.Header.Set("Content-Type", contentType)
	response, err := s.client.Do(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(answer)
}

// honest are admissions that go on meanwhile.
type honest struct {
	mu     sync.Mutex
	took   []time.Duration
	served int // that the webhook has seen
	pinned int
	errs   []error
}

// admit creates Deployments of the versions of an image in dry runs until ctx ends, in a namespace whose images are pinned: a pin says that the
// webhook was there, and so does its warning that the registry, which is in this busy process, took too long.
func (h *honest) admit(ctx context.Context, t *testing.T, n *lab.Pinning, image string) {
	var running sync.WaitGroup
	for g := range 3 {
		warnings := &lab.Warned{}
		config := n.Config()
		config.WarningHandler = warnings
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Error(err)
			return
		}
		running.Go(func() {
			for i := g; pause(ctx, 20*time.Millisecond); i++ {
				watch, before := lab.StartStopwatch(), len(warnings.Texts)
				d, err := client.AppsV1().Deployments(n.Name).Create(context.WithoutCancel(ctx), lab.Deployment(fmt.Sprint("honest-", g), fmt.Sprint(image, ":v", i%versions), 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				h.mu.Lock()
				h.took = append(h.took, watch.Elapsed())
				if err != nil {
					h.errs = append(h.errs, err)
				} else if len(lab.PinsOf(d.Spec.Template.Annotations)) > 0 {
					h.served++
					h.pinned++
				} else if len(warnings.Texts) > before {
					h.served++
				}
				h.mu.Unlock()
			}
		})
	}
	running.Wait()
}

// check fails unless all were admitted, nearly all in time, and most of them seen by the webhook.
func (h *honest) check(t *testing.T, inTime time.Duration) {
	t.Helper()
	t.Logf("%d admissions of others, %d of them seen by the webhook and %d pinned, took p50 %v, p99 %v and at most %v",
		len(h.took), h.served, h.pinned, h.quantile(0.5), h.quantile(0.99), h.quantile(1))
	if len(h.errs) > 0 {
		t.Errorf("%d of them failed: %v", len(h.errs), h.errs[0])
	}
	if p99 := h.quantile(0.99); p99 > inTime+slack {
		t.Errorf("the p99 is %v, want at most %v", p99, inTime+slack)
	}
	if 2*h.served < len(h.took) {
		t.Errorf("%d of %d were seen by the webhook, want most of them", h.served, len(h.took))
	}
}

func (h *honest) quantile(q float64) time.Duration {
	slices.Sort(h.took)
	return h.took[min(int(q*float64(len(h.took))), len(h.took)-1)].Round(time.Millisecond)
}

// peakMemory is the most that the process of a manager had in memory.
func peakMemory(t *testing.T, manager string) int64 {
	t.Helper()
	for _, pid := range lab.ProcessesWith(t, "HOSTNAME="+manager) {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return kib << 10
			}
		}
	}
	t.Fatalf("no process of %s", manager)
	return 0
}

// wellRunning fails if a manager is not as it was: the same, not restarted, ready, and no larger than it may be.
func (s *siege) wellRunning(t *testing.T, before []corev1.Pod, most int64) {
	t.Helper()
	after := s.Product.Managers(t)
	restarts := func(pods []corev1.Pod) (all []string) {
		for _, pod := range pods {
			all = append(all, fmt.Sprint(pod.Name, " restarted ", pod.Status.ContainerStatuses[0].RestartCount))
		}
		slices.Sort(all)
		return all
	}
	if was, is := restarts(before), restarts(after); !slices.Equal(was, is) {
		t.Errorf("the managers were %v and are %v", was, is)
	}
	for _, pod := range after {
		peak := peakMemory(t, pod.Name)
		t.Logf("%s had %d MiB at most", pod.Name, peak>>20)
		if peak > most {
			t.Errorf("%s had %d MiB, want at most %d", pod.Name, peak>>20, most>>20)
		}
	}
}

// bait is a listener that nobody has a reason to call. The function that it returns says how often somebody did.
func bait(t *testing.T, ip string) (address string, calls func() int) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	called := 0
	go func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				conn.Close()
			}
			mu.Lock()
			called++
			mu.Unlock()
		}
	}()
	return l.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return called
	}
}
