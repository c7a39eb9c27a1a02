package prepull

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// eventLog is an API server that stores events, two to a page, and forgets what it can replay when told to.
type eventLog struct {
	client.WithWatch
	stored   []corev1.Event
	version  int
	watching *watch.FakeWatcher
	expired  bool
}

func (l *eventLog) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	switch key.Name {
	case "shop":
		into.SetLabels(map[string]string{v1alpha1.LabelEnabled: v1alpha1.Enabled})
	case "gone":
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, key.Name)
	}
	return nil
}

func (l *eventLog) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	from, _ := strconv.Atoi(o.Continue)
	to := min(from+2, len(l.stored))
	list := into.(*corev1.EventList)
	list.Items = l.stored[from:to]
	list.ResourceVersion = fmt.Sprint(l.version)
	if to < len(l.stored) {
		list.Continue = fmt.Sprint(to)
	}
	l.expired = false
	return nil
}

func (l *eventLog) Watch(_ context.Context, _ client.ObjectList, options ...client.ListOption) (watch.Interface, error) {
	var o client.ListOptions
	o.ApplyOptions(options)
	if l.expired {
		return nil, apierrors.NewResourceExpired("too old resource version")
	}
	l.watching = watch.NewFakeWithChanSize(10, false)
	return l.watching, nil
}

// interrupt ends the watch while something happens that is not told any more.
func (l *eventLog) interrupt(happens func()) {
	watching := l.watching
	l.expired, l.watching = true, nil
	happens()
	watching.Error(&apierrors.NewResourceExpired("too old resource version").ErrStatus)
	time.Sleep(2 * clock.Production().StartsRetry)
}

// again counts the last event once more, as kubelets do.
func (l *eventLog) again() {
	e := l.stored[len(l.stored)-1].DeepCopy()
	l.version++
	e.Count, e.ResourceVersion, e.LastTimestamp = 2, fmt.Sprint(l.version), metav1.Now()
	l.stored[len(l.stored)-1] = *e
}

// tell stores an event, and passes it on to who watches.
func (l *eventLog) tell(namespace, node, words string) {
	l.version++
	e := corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint(len(l.stored)), ResourceVersion: fmt.Sprint(l.version)},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: namespace},
		Reason:         "Pulled", Message: words, Source: corev1.EventSource{Host: node}, LastTimestamp: metav1.Now(),
	}
	l.stored = append(l.stored, e)
	if l.watching != nil {
		l.watching.Add(&e)
	}
}

func TestStartsAreCountedOnce(t *testing.T) {
	const present, brought = `Container image "a" already present on machine`, `Successfully pulled image "a" in 30s (40s including waiting)`
	synctest.Test(t, func(t *testing.T) {
		counts, err := newStartMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		since := func() [4]float64 {
			synctest.Wait()
			return counted(t, counts)
		}
		check := func(what string, hits, misses, waited, saved float64) {
			t.Helper()
			if diff := cmp.Diff([4]float64{hits, misses, waited, saved}, since()); diff != "" {
				t.Errorf("%s: hits, misses, waited, saved (-want +got):\n%s", what, diff)
			}
		}
		l := &eventLog{version: 100}
		l.tell("kube-prepull", "n1", brought)
		l.tell("shop", "n1", present)
		l.tell("shop", "n2", brought)
		l.tell("kube-prepull", "n3", brought)
		w := &startWatch{cached: l, live: l, namespace: "kube-prepull", retry: clock.Production().StartsRetry, log: logr.Discard(), metrics: counts}
		ctx, cancel := context.WithCancel(t.Context())
		go w.Start(ctx) //nolint:errcheck // it has none
		check("what was there before", 0, 0, 0, 0)

		l.tell("shop", "n1", present)
		check("a hit whose pull an earlier start has used", 1, 0, 0, 0)
		l.tell("shop", "n3", present)
		check("a pull of the time before", 2, 0, 0, 30)
		l.tell("elsewhere", "n4", brought)
		l.tell("gone", "n4", brought)
		check("namespaces that are not opted in", 2, 0, 0, 30)
		l.tell("shop", "n4", brought)
		check("a miss", 2, 1, 40, 30)

		l.interrupt(func() {
			l.tell("kube-prepull", "n5", brought)
			l.tell("shop", "n5", present)
			l.tell("shop", "n6", brought)
		})
		check("what was missed while the watch was interrupted", 3, 2, 80, 60)
		l.tell("shop", "n5", present)
		check("a start after that", 4, 2, 80, 60)

		l.tell("kube-prepull", "n7", brought)
		l.tell("shop", "n7", present)
		check("a start that is told again later", 5, 2, 80, 90)
		l.interrupt(func() { l.again() })
		check("a restart that was missed, whose event has taken the place of the start's", 6, 2, 80, 90)
		cancel()
		synctest.Wait()
	})
}

// counted are hits, misses, and the seconds waited and saved.
func counted(t *testing.T, counts *startMetrics) [4]float64 {
	t.Helper()
	read := func(m prometheus.Metric) *dto.Metric {
		var out dto.Metric
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		return &out
	}
	return [4]float64{
		read(counts.starts.WithLabelValues("hit")).GetCounter().GetValue(),
		read(counts.starts.WithLabelValues("miss")).GetCounter().GetValue(),
		read(counts.workloadPull).GetHistogram().GetSampleSum(),
		read(counts.saved).GetCounter().GetValue(),
	}
}
