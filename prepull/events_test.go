package prepull

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// creating is a client of an API server that takes everything.
type creating struct {
	client.Client
	made []string
}

func (c *creating) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	c.made = append(c.made, o.(*corev1.Event).Reason)
	return nil
}

func TestAChangeIsToldOnceEvenIfTheCacheIsBehind(t *testing.T) {
	t.Parallel()
	api := &creating{}
	w := &eventWriter{client: api, limiter: rate.NewLimiter(0, 3), metrics: testMetrics(t), recorded: map[string]string{}}
	change := func(from string, reasons ...string) plan.StatusChange {
		c := plan.StatusChange{Name: "a", From: from}
		for _, reason := range reasons {
			c.Notices = append(c.Notices, plan.Notice{About: corev1.ObjectReference{Kind: "PrepullImage", Name: "a"}, Reason: reason, At: prepulltest.Noon})
		}
		return c
	}
	w.record(t.Context(), change("8", plan.NoticeFailed), "12")
	w.record(t.Context(), change("8", plan.NoticeFailed), "13")
	w.record(t.Context(), change("9", plan.NoticeFailed), "14") // somebody else wrote in between
	w.record(t.Context(), change("12"), "15")
	w.record(t.Context(), change("15", plan.NoticeRecovered), "16")
	w.record(t.Context(), change("16", plan.NoticeOver, plan.NoticeWithin), "17")
	if diff := cmp.Diff([]string{plan.NoticeFailed, plan.NoticeRecovered, plan.NoticeOver}, api.made); diff != "" {
		t.Errorf("Events (-want +made; no more than three may be):\n%s", diff)
	}
}
