package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// oneDeployment holds a namespace with a label and at most one Deployment, whose only container has an image. It notes
// Events.
type oneDeployment struct {
	client.Client
	mode   string
	mu     sync.Mutex
	image  string // empty if there is no Deployment
	err    error
	reads  int
	events int
}

func (o *oneDeployment) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	object, ok := into.(*unstructured.Unstructured)
	if !ok {
		into.SetLabels(map[string]string{v1alpha1.LabelRewrite: o.mode})
		return nil
	}
	o.reads++
	if o.err != nil {
		return o.err
	}
	if o.image == "" || key.Name != "api" {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	container := map[string]any{"name": "app", "image": o.image}
	object.Object["metadata"] = map[string]any{"name": "api", "namespace": "shop", "uid": "u"}
	object.Object["spec"] = map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{container}}}}
	return nil
}

func (o *oneDeployment) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := obj.(*corev1.Event); e.InvolvedObject.UID == "u" && e.Reason == tagNotPinned {
		o.events++
	}
	return nil
}

func (o *oneDeployment) change(image string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.image, o.err = image, err
}

func (o *oneDeployment) seen() (events, reads int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.events, o.reads
}

func waiting(r *reporter) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.looks)
}

// reporting runs a reporter in the bubble of a test.
func reporting(t *testing.T, o *oneDeployment) *reporter {
	t.Helper()
	recorder, err := newRecorder(o, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r := newReporter(o, o, recorder, logr.Discard())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Start(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

func TestAnObjectIsWaitedFor(t *testing.T) {
	t.Parallel()
	const old = "r.test:5000/app:v1"
	away := errors.New("away")
	for name, test := range map[string]struct {
		before, after string
		err           error // at first
		want          int
	}{
		"a Deployment that is stored late":        {"", taggedApp, nil, 1},
		"one whose update is stored late":         {old, taggedApp, nil, 1},
		"one that was rejected":                   {"", "", nil, 0},
		"one whose update was rejected":           {old, old, nil, 0},
		"one that was stored at once and changed": {taggedApp, old, nil, 1},
		"an API server that is away for a moment": {taggedApp, taggedApp, away, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := &oneDeployment{mode: "latest", image: test.before, err: test.err}
				r := reporting(t, o)
				r.Report(Unpinned{"apps", "Deployment", "shop", "api", "app", taggedApp, "no answer"})
				time.Sleep(time.Second)
				synctest.Wait()
				o.change(test.after, nil)
				time.Sleep(time.Minute)
				synctest.Wait()
				if events, reads := o.seen(); events != test.want || reads > storedLooks || waiting(r) != 0 {
					t.Errorf("%d events, %d reads, %d reports wait", events, reads, waiting(r))
				}
			})
		})
	}
}

func TestWhatIsNeverStoredHoldsUpNoReport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &oneDeployment{mode: "latest", image: taggedApp}
		r := reporting(t, o)
		for i := range 50 {
			r.Report(Unpinned{"apps", "Deployment", "shop", fmt.Sprint("forged-", i), "app", taggedApp, ""})
		}
		r.Report(Unpinned{"apps", "Deployment", "shop", "api", "app", taggedApp, "no answer"})
		time.Sleep(time.Second)
		synctest.Wait()
		if events, _ := o.seen(); events != 1 {
			t.Errorf("%d events after a second", events)
		}
	})
}

func TestReportsOfOtherNamespacesAreNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &oneDeployment{image: taggedApp}
		r := reporting(t, o)
		for i := range 2 * maxReports {
			r.Report(Unpinned{"apps", "Deployment", "shop", "api", "app", taggedApp, fmt.Sprint(i)})
		}
		if waiting(r) != maxReports {
			t.Errorf("%d reports wait", waiting(r))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if events, reads := o.seen(); events+reads+waiting(r) != 0 {
			t.Errorf("%d events, %d reads, %d reports wait", events, reads, waiting(r))
		}
	})
}
