package webhook

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

// amplified is how much memory a value of JSON takes at most, garbage included: lists grow to twice what is in them.
const amplified = 2 << 10

// allocated is how many bytes are allocated meanwhile, by everybody.
func allocated(do func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// hostileTemplates are small and want to become large.
func hostileTemplates(size int) []string {
	var all []string
	for _, list := range []string{"containers", "initContainers", "volumes", "tolerations", "hostAliases", "topologySpreadConstraints"} {
		for _, element := range []string{"{}", "0", "null", "[]"} {
			all = append(all, `{"spec":{"template":{"spec":{"`+list+`":[`+strings.TrimSuffix(strings.Repeat(element+",", size/(len(element)+1)), ",")+`]}}}}`)
		}
	}
	return all
}

// Not parallel: it measures memory.
func TestNoRevisionBecomesLarge(t *testing.T) {
	const most = 64 << 20
	for _, raw := range hostileTemplates(1 << 20) {
		shown := raw[:60]
		owned := metav1.ObjectMeta{Name: "r", OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", UID: "u", Controller: new(bool)}}}
		revision := appsv1.ControllerRevision{ObjectMeta: owned}
		revision.Data.Raw = []byte(raw)
		r := revisions{&stored{revision: []appsv1.ControllerRevision{revision}}}
		took := allocated(func() {
			if found, err := r.of(t.Context(), "StatefulSet", "shop", &pins.Object{Selector: &metav1.LabelSelector{}}); err == nil {
				t.Errorf("%s: %d revisions are read", shown, len(found))
			}
		})
		template := []byte(strings.TrimSuffix(strings.TrimPrefix(raw, `{"spec":{"template":`), "}}"))
		took += allocated(func() {
			if _, err := (earlier{}).have(&pins.Template{Raw: template}); err == nil {
				t.Errorf("%s: it is compared", shown)
			}
		})
		if took > most {
			t.Errorf("%s: it takes %d MiB", shown, took>>20)
		}
	}
}

// FuzzRevision reads what anybody may store as a ControllerRevision.
func FuzzRevision(f *testing.F) {
	for _, raw := range hostileTemplates(1 << 10) {
		f.Add([]byte(raw))
	}
	f.Add([]byte(`{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"a"}]}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if took := allocated(func() { templateIn(raw) }); took > amplified*values(raw)+16*len(raw)+1<<20 {
			t.Errorf("%d bytes with %d values take %d", len(raw), values(raw), took)
		}
	})
}

// stuckPods is an API server that answers nobody who lists pods, and has no revisions.
type stuckPods struct{}

func (stuckPods) RoundTrip(r *http.Request) (*http.Response, error) {
	kinds := map[string]string{"replicasets": "ReplicaSetList", "controllerrevisions": "ControllerRevisionList"}
	kind, answers := kinds[path.Base(r.URL.Path)]
	if !answers {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	body := `{"apiVersion":"apps/v1","kind":"` + kind + `","items":[]}`
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

// The lists of other work have all their places, that of the same namespace too, and the API server does not answer them.
func TestRevisionsWaitForNoOtherWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mapper := meta.NewDefaultRESTMapper(nil)
		mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
		for _, kind := range []string{"ReplicaSet", "ControllerRevision"} {
			mapper.Add(appsv1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
		}
		config := &rest.Config{Host: "http://api", QPS: -1, Transport: stuckPods{}}
		config.Wrap(pages.Bound)
		c, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme, Mapper: mapper})
		if err != nil {
			t.Fatal(err)
		}
		others, stop := context.WithCancel(t.Context())
		var stuck sync.WaitGroup
		for i := range 20 {
			stuck.Go(func() {
				if err := pages.List(others, c, &corev1.PodList{}, &client.ListOptions{Namespace: fmt.Sprint("shop-", i)}); err == nil {
					t.Error("a list of pods is answered")
				}
			})
		}
		defer stuck.Wait()
		defer stop()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet"} {
			for i := range 20 {
				if _, err := (revisions{c}).of(ctx, kind, fmt.Sprint("shop-", i), &pins.Object{Selector: &metav1.LabelSelector{}}); err != nil {
					t.Fatalf("the revisions of a %s of shop-%d: %v", kind, i, err)
				}
			}
		}
	})
}
