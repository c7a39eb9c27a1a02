package abuse

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

const (
	attackTime = 6 * time.Second

	// slack is for the attacker, the API server and the registry, which share this machine.
	slack = time.Second

	// maxPeak is below the chart's limit, at which a manager would be killed.
	maxPeak = 224 << 20

	// versions of an image take turns in admissions: an answer is remembered for seconds, and questions are to be asked.
	versions = 40

	// maxPosts bounds the flood.
	maxPosts = 20000
)

// TestAnAttackerInTheCluster sends the webhook forged, huge, malformed, slow and very many reviews from a pod, and has managers
// ask registries of its own. Meanwhile others are admitted as ever, and what they use is learned.
func TestAnAttackerInTheCluster(t *testing.T) {
	p := lab.LeaseAsShipped(t) // no test runs beside this one
	p.Namespace(t, "besieged", true)
	n := p.Pinning(t, "besieged-pins", "tags")
	n.Versions(t, "app", 1)
	greedy := p.Pinning(t, "besieging-pins", "tags")
	greedy.Versions(t, "app", 1)
	s := newSiege(t, p)
	before := p.Managers(t)
	host, calls := bait(t, p.HostIP())
	for i := range versions {
		lab.Retag(t, p.Registry, n.Name+"/app:v1", fmt.Sprint("v", i))
	}
	n.AdmitNew(t, lab.Deployment("warm-up", n.Image("app:v1"), 0))

	for i, attack := range []struct {
		name string
		run  func(context.Context, *testing.T, *siege)
	}{
		{"forged", func(ctx context.Context, t *testing.T, s *siege) { forgeries(ctx, t, s, n, host) }},
		{"huge", hugeBodies},
		{"malformed", malformedBodies},
		{"slow", slowSenders},
		{"many", flood},
		{"answers", hostileAnswers},
		{"slow-registries", func(ctx context.Context, t *testing.T, s *siege) { slowRegistries(ctx, t, s, greedy) }},
		{"revisions", func(ctx context.Context, t *testing.T, s *siege) { hugeRevisions(ctx, t, s, greedy) }},
		{"misleading", func(ctx context.Context, t *testing.T, s *siege) { misleading(ctx, t, s, greedy) }},
		{"exhausted", func(ctx context.Context, t *testing.T, s *siege) { exhausted(ctx, t, s, greedy, n) }},
	} {
		t.Run(attack.name, func(t *testing.T) {
			image := p.Push(t, "besieged/during-"+attack.name+":v1", images.Image{Seed: uint64(910 + i)})
			ctx, cancel := context.WithTimeout(t.Context(), attackTime)
			defer cancel()
			var h honest
			var running sync.WaitGroup
			running.Go(func() { attack.run(ctx, t, s) })
			running.Go(func() { h.admit(ctx, t, n, n.Image("app")) })
			<-time.After(attackTime / 2)
			p.Deploy(t, "besieged", lab.Deployment(attack.name, image, 0))
			running.Wait()
			h.check(t, p.AdmissionTime())
			if attack.name == "slow-registries" && 10*h.pinned < 9*len(h.took) {
				t.Errorf("%d of %d admissions of others were pinned, want nearly all", h.pinned, len(h.took))
			}
			lab.Eventually(t, "the image to be learned", func() error {
				if p.PrepullImage(t, image) == nil {
					return fmt.Errorf("%s is not known", image)
				}
				return nil
			})
			s.wellRunning(t, before, maxPeak)
		})
	}
	if list, err := p.Images.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	} else {
		for _, o := range list.Items {
			if image := lab.Field(&o, "spec", "image"); strings.Contains(image, "/forged:") || strings.HasPrefix(image, host) {
				t.Errorf("%s was learned", image)
			}
		}
	}
	if asked := n.Questions("forged"); asked+int64(calls()) > 0 {
		t.Errorf("the registry was asked %d times, and the attacker's host called %d times", asked, calls())
	}
}

// forgeries are reviews as the API server sends them, of what is not stored.
func forgeries(ctx context.Context, t *testing.T, s *siege, n *lab.Pinning, host string) {
	var reviews [][]byte
	for _, namespace := range []string{"besieged", n.Name, "default", "no-such-namespace"} {
		for _, image := range []string{n.Image("forged:v1"), host + "/forged:v1"} {
			request := lab.DeploymentReview(t, admissionv1.Create, namespace, lab.Deployment("forged", image, 1))
			for _, r := range []*admissionv1.AdmissionRequest{request, lab.PodReview(t, namespace, image)} {
				reviews = append(reviews, lab.RawJSON(t, admissionv1.AdmissionReview{
					TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: r,
				}).Raw)
			}
		}
	}
	paths := []string{"/observe", "/rewrite", "/rewrite/", "/rewrite/aaaaaaaaaaaaaaaaaaaaaaaaaa", "/observe/../rewrite/x", "/"}
	var allowed, patched atomic.Int64
	s.by(ctx, 8, func(ctx context.Context, manager string, i int) {
		review := reviews[i%len(reviews)]
		status, answer := s.post(ctx, "https://"+manager+paths[i%len(paths)], "application/json", int64(len(review)), bytes.NewReader(review))
		if status == http.StatusOK {
			allowed.Add(1)
		}
		if strings.Contains(answer, "patch") || strings.Contains(answer, `"allowed":false`) {
			patched.Add(1)
		}
	})
	t.Logf("%d forged reviews were answered", allowed.Load())
	if allowed.Load() == 0 || patched.Load() > 0 {
		t.Errorf("%d forged reviews were allowed, and %d had another answer", allowed.Load(), patched.Load())
	}
}

// hugeBodies are as large as they may be, larger, and not as large as they say; and huge headers.
func hugeBodies(ctx context.Context, t *testing.T, s *siege) {
	start := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"huge","object":{"spec":"`
	const size = 7 << 20
	largest := []byte(start + strings.Repeat("x", size-len(start)-4) + `"}}}`)
	var read atomic.Int64
	s.by(ctx, 16, func(ctx context.Context, manager string, i int) {
		url := "https://" + manager + "/observe"
		switch i % 4 {
		case 0:
			if status, _ := s.post(ctx, url, "application/json", size, bytes.NewReader(largest)); status == http.StatusOK {
				read.Add(1)
			}
		case 1:
			s.post(ctx, url, "application/json", 1<<40, io.LimitReader(bytes.NewReader(largest), 1<<20))
		case 2:
			s.raw(ctx, manager, fmt.Sprintf("POST /observe HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", size, largest[:1<<10]))
		case 3:
			s.raw(ctx, manager, "POST /observe HTTP/1.1\r\nHost: x\r\nX-Huge: "+strings.Repeat("x", 1<<20))
		}
	})
	t.Logf("%d bodies of %d MiB were read", read.Load(), size>>20)
	if read.Load() == 0 {
		t.Error("no large body was read")
	}
}

// raw sends some bytes after a handshake, and hangs up.
func (s *siege) raw(ctx context.Context, manager, bytes string) {
	conn, err := s.secure(ctx, manager)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, bytes)
}

// malformedBodies are no reviews, no JSON, no HTTP and no TLS.
func malformedBodies(ctx context.Context, t *testing.T, s *siege) {
	review := lab.RawJSON(t, admissionv1.AdmissionReview{Request: lab.PodReview(t, "besieged", "forged:v1")}).Raw
	deep := strings.Repeat(`{"request":[`, 1<<16)
	s.by(ctx, 16, func(ctx context.Context, manager string, i int) {
		random := rand.New(rand.NewPCG(uint64(i), 0))
		noise := make([]byte, random.IntN(1<<12))
		for j := range noise {
			noise[j] = byte(random.Uint32())
		}
		changed := bytes.Clone(review)
		for range 1 + random.IntN(8) {
			changed[random.IntN(len(changed))] = byte(random.Uint32())
		}
		url, body := "https://"+manager+"/observe", string(changed)
		contentType := "application/json"
		switch i % 8 {
		case 0:
			body = string(noise)
		case 1:
			body = deep
		case 2:
			body = string(review[:random.IntN(len(review))])
		case 3:
			contentType = "text/html; charset=\xff"
		case 4: // of no length
			s.post(ctx, url, contentType, -1, io.MultiReader(strings.NewReader(body)))
			return
		case 5:
			s.raw(ctx, manager, string(noise))
			return
		case 6:
			if conn, err := s.dial(ctx, manager); err == nil {
				_, _ = conn.Write(noise)
				conn.Close()
			}
			return
		}
		s.post(ctx, url, contentType, int64(len(body)), strings.NewReader(body))
	})
}

// slowSenders keep more connections to one manager open than it has, as well as they can: handshakes without an end,
// headers and large bodies that come byte by byte.
func slowSenders(ctx context.Context, t *testing.T, s *siege) {
	var opened atomic.Int64
	one := *s
	one.managers = s.managers[:1]
	one.by(ctx, 600, func(ctx context.Context, manager string, i int) {
		defer pause(ctx, 100*time.Millisecond)
		dial, begin := s.secure, "POST /observe HTTP/1.1\r\nHost: x\r\nX-Slow: "
		switch i % 10 {
		case 0, 1, 2, 3:
			dial, begin = s.dial, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" // a ClientHello of 16 KiB
		case 4:
			begin = fmt.Sprintf("POST /observe HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{", 7<<20)
		}
		conn, err := dial(ctx, manager)
		if err != nil {
			return
		}
		defer conn.Close()
		opened.Add(1)
		for text := begin; ; text = "x" {
			if _, err := io.WriteString(conn, text); err != nil || !pause(ctx, 500*time.Millisecond) {
				return
			}
		}
	})
	t.Logf("%d connections were opened", opened.Load())
}

// flood posts reviews over 200 connections as fast as they are answered.
func flood(ctx context.Context, t *testing.T, s *siege) {
	var posts, answered atomic.Int64
	s.by(ctx, 200, func(ctx context.Context, manager string, i int) {
		if posts.Add(1) > maxPosts {
			<-ctx.Done()
			return
		}
		review := fmt.Sprintf(`{"request":{"uid":"7","kind":{"group":"apps","kind":"Deployment"},"operation":"CREATE","namespace":"besieged","name":"flood-%d"}}`, i)
		if status, _ := s.post(ctx, "https://"+manager+"/observe", "application/json", int64(len(review)), strings.NewReader(review)); status == http.StatusOK {
			answered.Add(1)
		}
	})
	t.Logf("%d reviews were answered", answered.Load())
}

// pause returns false if ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
