package pages_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
)

// stuckLimit is that of requests which a server does not answer.
const stuckLimit = 7

// server has pods, and remembers how many were asked for.
type server struct {
	pods  []corev1.Pod
	takes time.Duration

	// stuck are requests for so many objects, until it is closed.
	stuck chan struct{}

	mu     sync.Mutex
	limits []int

	// open are the requests that are answered now, and most how many there were at most.
	open, most int
}

// count notes that so many more requests are answered.
func (s *server) count(more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += more
	s.most = max(s.most, s.open)
}

// answering is how many requests are answered now.
func (s *server) answering() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count(1)
	defer s.count(-1)
	time.Sleep(s.takes)
	start, _ := strconv.Atoi(r.URL.Query().Get("continue")) // empty is 0
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if s.stuck != nil && limit == stuckLimit {
		<-s.stuck
	}
	s.mu.Lock()
	s.limits = append(s.limits, limit)
	s.mu.Unlock()
	list := corev1.PodList{Items: s.pods[start:]}
	if limit > 0 && limit < len(list.Items) {
		list.Items, list.Continue = list.Items[:limit], strconv.Itoa(start+limit)
	}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	body, err := list.Marshal()
	if err != nil {
		panic(err)
	}
	// As k8s.io/apimachinery/pkg/runtime/serializer/protobuf writes it.
	unknown := append([]byte("k8s\x00"), wrapped(body)...)
	w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
	_, _ = w.Write(unknown) // who has read enough hangs up
}

// wrapped is a runtime.Unknown of a PodList.
func wrapped(raw []byte) []byte {
	kind := []byte("\x0a\x02v1\x12\x07PodList")
	out := append([]byte{0x0a, byte(len(kind))}, kind...)
	out = append(out, 0x12)
	for n := uint64(len(raw)); ; n >>= 7 {
		if n < 0x80 {
			out = append(out, byte(n))
			break
		}
		out = append(out, byte(n)|0x80)
	}
	return append(out, raw...)
}

func (s *server) client(t testing.TB) client.Client {
	t.Helper()
	served := httptest.NewServer(s)
	t.Cleanup(served.Close)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	config := &rest.Config{Host: served.URL, QPS: -1}
	config.Wrap(pages.Bound)
	c, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pod(i, size int) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("pod-", i)}}
	p.Spec.Containers = []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: "LARGE", Value: strings.Repeat("x", size)}}}}
	return p
}

// names reads all pods as a page after the other.
func names(t testing.TB, c client.Client) ([]string, error) {
	t.Helper()
	var all []string
	err := pages.Each(t.Context(), c, func() client.ObjectList { return &corev1.PodList{} }, client.ListOptions{Namespace: "shop"}, func(o client.Object) {
		all = append(all, strings.Clone(o.GetName()))
	})
	return all, err
}

func TestEachReadsAllWhateverTheirSize(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sizes  func(i int) int
		number int
		most   int // requests
		fails  bool
	}{
		"none":                      {func(int) int { return 0 }, 0, 1, false},
		"as many as usual":          {func(int) int { return 1000 }, 32, 1, false},
		"very many small ones":      {func(int) int { return 100 }, 3000, 10, false},
		"all large":                 {func(int) int { return 1_300_000 }, 40, 100, false},
		"large ones in the middle":  {func(i int) int { return map[bool]int{true: 1_300_000}[i > 500 && i < 520] }, 1000, 60, false},
		"one that is too large":     {func(i int) int { return map[bool]int{true: 3_000_000}[i == 7] }, 10, 40, true},
		"a last one that just fits": {func(i int) int { return map[bool]int{true: 2_000_000}[i == 63] }, 64, 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			for i := range test.number {
				s.pods = append(s.pods, pod(i, test.sizes(i)))
			}
			got, err := names(t, s.client(t))
			if (err != nil) != test.fails || test.fails && !errors.Is(err, pages.ErrTooLarge) {
				t.Fatal(err)
			}
			if !test.fails && len(got) != test.number {
				t.Errorf("%d pods were read, want %d", len(got), test.number)
			}
			for i, name := range got {
				if name != s.pods[i].Name {
					t.Fatalf("pod %d is %s", i, name)
				}
			}
			if len(s.limits) > test.most {
				t.Errorf("it took %d requests, with limits %v", len(s.limits), s.limits)
			}
		})
	}
}

func TestAListWithoutALimitIsRefusedWhereItIsTooLarge(t *testing.T) {
	t.Parallel()
	s := &server{}
	for i := range 5 {
		s.pods = append(s.pods, pod(i, 1_000_000))
	}
	c := s.client(t)
	if err := pages.List(t.Context(), c, &corev1.PodList{}, &client.ListOptions{}); !errors.Is(err, pages.ErrTooLarge) {
		t.Errorf("the error is %v", err)
	}
	var all corev1.PodList
	if err := c.List(t.Context(), &all); err != nil || len(all.Items) != 5 {
		t.Errorf("a list that others read has %d pods (%v)", len(all.Items), err)
	}
	options := &client.ListOptions{Limit: 4}
	if err := pages.List(t.Context(), c, &all, options); err != nil || len(all.Items) != 2 || options.Limit != 2 {
		t.Errorf("a page has %d pods, %d were asked for (%v)", len(all.Items), options.Limit, err)
	}
}

// Many want lists of one namespace, and then of many, at the same time.
func TestFewListsAreReadAtTheSameTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		namespaces, want int
		ctx              context.Context
	}{
		"of one namespace": {1, 1, t.Context()},
		"of many":          {6, 3, t.Context()},
		"that admissions wait for, of one namespace":       {1, 1, pages.Awaited(t.Context())},
		"that admissions wait for, of many of the cluster": {6, 2, pages.Awaited(t.Context())},
	} {
		s := &server{pods: []corev1.Pod{pod(0, 100)}, takes: 3 * time.Millisecond}
		c := s.client(t)
		var readers sync.WaitGroup
		for i := range 60 {
			readers.Go(func() {
				var list corev1.PodList
				if err := pages.List(test.ctx, c, &list, &client.ListOptions{Namespace: fmt.Sprint("shop-", i%test.namespaces)}); err != nil || len(list.Items) != 1 {
					t.Errorf("%d pods were read (%v)", len(list.Items), err)
				}
			})
		}
		readers.Wait()
		if s.most != test.want {
			t.Errorf("%d lists %s were read at the same time, want %d", s.most, name, test.want)
		}
	}
}

// The lists of other work have all their places, those of the same namespaces too, and the API server does not answer them.
func TestAnAdmissionWaitsForNoOtherWork(t *testing.T) {
	t.Parallel()
	s := &server{pods: []corev1.Pod{pod(0, 100)}, stuck: make(chan struct{})}
	c := s.client(t)
	list := func(ctx context.Context, i int, limit int64) error {
		return pages.List(ctx, c, &corev1.PodList{}, &client.ListOptions{Namespace: fmt.Sprint("shop-", i), Limit: limit})
	}
	var others sync.WaitGroup
	for i := range 20 {
		others.Go(func() {
			if err := list(t.Context(), i, stuckLimit); err != nil {
				t.Error(err)
			}
		})
	}
	defer others.Wait()
	defer close(s.stuck)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for s.answering() < 3 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	for i := range 20 {
		if err := list(pages.Awaited(ctx), i, 1); err != nil {
			t.Fatalf("the list of shop-%d: %v", i, err)
		}
	}
}

func TestFewObjectsAreReadAtTheSameTime(t *testing.T) {
	t.Parallel()
	for namespaces, want := range map[int]int{1: 4, 6: 8} {
		s := &server{pods: []corev1.Pod{pod(0, 100)}, takes: 3 * time.Millisecond}
		c := s.client(t)
		var readers sync.WaitGroup
		for i := range 60 {
			readers.Go(func() {
				// It is a list that is answered, whatever becomes of that.
				_ = pages.Get(t.Context(), c, client.ObjectKey{Namespace: fmt.Sprint("shop-", i%namespaces), Name: "pod-0"}, &corev1.Pod{})
			})
		}
		readers.Wait()
		if s.most != want {
			t.Errorf("%d objects of %d namespaces were read at the same time, want %d", s.most, namespaces, want)
		}
	}
	large := &server{pods: []corev1.Pod{pod(0, 3_000_000)}}
	if err := pages.Get(t.Context(), large.client(t), client.ObjectKey{Namespace: "shop", Name: "pod-0"}, &corev1.Pod{}); !errors.Is(err, pages.ErrTooLarge) {
		t.Errorf("the error is %v", err)
	}
}
