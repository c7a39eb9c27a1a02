package webhook

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

func TestANoteIsNoLongerThanAnEventMayHave(t *testing.T) {
	t.Parallel()
	events, noted := testEvents(t)
	note := strings.Repeat("ü%s", 400)
	events.write(problem{reason: tagNotPinned, workload: corev1.ObjectReference{UID: "a"}, note: note})
	got := noted.all()[0].note
	if len(got) > maxNote || len(got) < maxNote-utf8.UTFMax || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if got := shortened("short", maxNote); got != "short" {
		t.Errorf("%q", got)
	}
}

func TestProblemsAreToldApart(t *testing.T) {
	t.Parallel()
	events, noted := testEvents(t)
	for _, p := range []problem{
		{reason: tagNotPinned, container: "a", image: "i"},
		{reason: tagNotPinned, container: "b", image: "i"},
		{reason: tagNotPinned, container: "a", image: "j"},
		{reason: pinnedDigestGone, container: "a", image: "i"},
		{reason: tagNotPinned, container: "a", image: "i", workload: corev1.ObjectReference{UID: "2"}},
		{reason: tagNotPinned, container: "a", image: "i", note: "the first in other words"},
	} {
		events.write(p)
	}
	if len(noted.all()) != 5 {
		t.Errorf("%d events", len(noted.all()))
	}
	if got := problemsCounted(t, events.metrics, tagNotPinned); got != 4 {
		t.Errorf("%v counted", got)
	}
}

func TestEveryReasonIsThereFromTheStart(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	if _, err := newPinMetrics(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		for _, metric := range family.Metric {
			name := family.GetName()
			for _, label := range metric.Label {
				name += " " + label.GetValue()
			}
			got = append(got, name)
		}
	}
	want := []string{
		"kube_prepull_always_pull_images",
		"kube_prepull_pin_problems_total PinnedDigestGone",
		"kube_prepull_pin_problems_total PodNotPinned",
		"kube_prepull_pin_problems_total TagNotPinned",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if _, err := newPinMetrics(registry); err == nil {
		t.Error("registered twice")
	}
}
