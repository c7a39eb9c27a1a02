package inventory

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStartsAndWhatTheyWereSaved(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	version := 100
	said := func(second int, namespace, pod, message string) event {
		version++
		e, ok := eventOf(&corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{ResourceVersion: strconv.Itoa(version)},
			Reason:         "Pulled",
			Message:        message,
			Source:         corev1.EventSource{Host: "node-1"},
			InvolvedObject: corev1.ObjectReference{Namespace: namespace, Name: pod, FieldPath: "spec.containers{app}"},
			LastTimestamp:  metav1.NewTime(noon.Add(time.Duration(second) * time.Second)),
		})
		if !ok {
			t.Fatalf("%q is not understood", message)
		}
		return e
	}
	const there, pulled = `Container image "app:v1" already present on machine`, `Successfully pulled image "app:v1" in 7s (9s including waiting)`
	// The API server lists events by namespace.
	events := []event{
		said(20, "shop", "first", there), said(30, "shop", "second", there), said(5, "shop", "early", pulled),
		said(10, "kube-prepull", "prepull", pulled),
	}
	start := func(second int, pod string, hit bool, waited, saved float64) Start {
		return Start{Time: noon.Add(time.Duration(second) * time.Second), Namespace: "shop", Pod: pod, Container: "app", Image: "app:v1", Node: "node-1", Hit: hit, WaitedSeconds: waited, SavedSeconds: saved}
	}
	got := startsOf(events, "kube-prepull")
	want := []Start{start(5, "early", false, 9, 0), start(20, "first", true, 0, 7), start(30, "second", true, 0, 0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	rate := 2.0 / 3
	if diff := cmp.Diff(Starts{Count: 3, Hits: 2, HitRate: &rate, SavedSeconds: 7, WaitedSeconds: 9}, Sum(got, noon)); diff != "" {
		t.Errorf("sum (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Starts{}, Sum(got, noon.Add(time.Hour))); diff != "" {
		t.Errorf("sum of an hour without starts (-want +got):\n%s", diff)
	}
}

func TestTheKeyOfTheGate(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		"":                                      "kube-prepull.io/warming",
		"noopImage: a":                          "kube-prepull.io/warming",
		"gate: {enabled: true}":                 "kube-prepull.io/warming",
		"gate: {taintKey: kube-prepull.io/new}": "kube-prepull.io/new",
		"gate: [":                               "",
	} {
		got, err := gateKey([]byte(config))
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q has the key %q, error %v; want %q", config, got, err, want)
		}
	}
}
