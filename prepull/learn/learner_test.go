package learn

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func valueOf(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Counter.GetValue()
}

func testMetrics(t *testing.T) *metrics {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestHint(t *testing.T) {
	l := &Learner{named: newLookupQueue(8), searches: newLookupQueue(4), metrics: testMetrics(t)}
	queued, dropped := l.metrics.hints.WithLabelValues("queued"), l.metrics.hints.WithLabelValues("dropped")
	beforeQueued, beforeDropped := valueOf(t, queued), valueOf(t, dropped)
	for i, want := range []bool{true, true, false} {
		if got := l.Hint(workload.Hint{Kind: "Deployment", Namespace: "shop", Name: fmt.Sprint(i)}); got != want {
			t.Errorf("hint %d = %t, want %t", i, got, want)
		}
	}
	if !l.Hint(workload.Hint{Kind: "Deployment", Namespace: "shop", Name: "0"}) {
		t.Error("a full queue refuses a place that it has")
	}
	if l.Hint(workload.Hint{Kind: "Secret", Namespace: "shop", Name: "0"}) {
		t.Error("a hint that leads nowhere is taken")
	}
	if !l.Hint(workload.Hint{Kind: "Pod", Namespace: "shop", GenerateName: "run-"}) {
		t.Error("a full queue of objects refuses a search")
	}
	if got := valueOf(t, queued) - beforeQueued; got != 4 {
		t.Errorf("%v hints count as queued, want 4", got)
	}
	if got := valueOf(t, dropped) - beforeDropped; got != 2 {
		t.Errorf("%v hints count as dropped, want 2", got)
	}
}

func TestUsesOf(t *testing.T) {
	t.Parallel()
	a, b := deployments("a")[0], deployments("b")[0]
	gpu := workload.Requirements{Placement: gpuDemand.Placements[0], Always: map[string]bool{"app": true}}
	seen := []observation{
		{images: []string{"app", "proxy"}, user: a}, {images: []string{"app"}, user: b, pod: true}, {images: []string{"app"}, user: b},
		{images: []string{"app", "proxy"}, user: a, Requirements: gpu},
	}
	both := workload.Demand{Placements: append(slices.Clone(gpuDemand.Placements), anyNode...)}
	always := both
	always.AlwaysPull = true
	want := []imageUse{{"app", a, always, true}, {"proxy", a, both, true}, {"app", b, freely, false}}
	if diff := cmp.Diff(want, usesOf(seen), cmp.AllowUnexported(imageUse{}, workload.Demand{})); diff != "" {
		t.Errorf("usesOf (-want +got):\n%s", diff)
	}
}

func TestResultOf(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		found finding
		err   error
		want  string
	}{
		"something new":        {fresh, nil, "learned"},
		"nothing new":          {stale, nil, "nothing"},
		"nothing at all":       {absent, nil, "nothing"},
		"not our business":     {foreign, nil, "nothing"},
		"it could not be read": {absent, fmt.Errorf("reading"), "error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := resultOf(test.found, test.err); got != test.want {
				t.Errorf("resultOf = %s, want %s", got, test.want)
			}
		})
	}
}

func TestStatusPatchHasTheLearnersFieldsAlone(t *testing.T) {
	t.Parallel()
	o := prepulltest.Learned("app:v1", 0)
	o.ResourceVersion = "42"
	o.Status.State, o.Status.SizeBytes = "Ready", 7
	want := learned{FirstSeenTime: at(prepulltest.Noon), LastSeenTime: at(prepulltest.Noon), Starts: starts("1500m", prepulltest.Noon), Users: deployments("api"), UserCount: 1}
	want = want.withDemand(gpuDemand)
	want.Placements = append(slices.Clone(anyNode), want.Placements...)
	want.Autoscaled = true
	u, err := statusPatch(&o, want)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	const patch = `{"apiVersion":"kube-prepull.io/v1alpha1","kind":"PrepullImage",` +
		`"metadata":{"name":"app-v1-HASH","resourceVersion":"42"},` +
		`"status":{"alwaysPull":true,"autoscaled":true,"firstSeenTime":"2026-11-23T12:00:00Z","lastSeenTime":"2026-11-23T12:00:00Z",` +
		`"placements":[{},{"nodeSelector":{"gpu":"true"}}],"priority":7,"pullSecrets":[{"name":"registry","namespace":"shop"}],"required":true,` +
		`"starts":{"count":"1500m","time":"2026-11-23T12:00:00Z"},"userCount":1,` +
		`"users":[{"kind":"Deployment","name":"api","namespace":"shop","uid":"uid-of-api"}]}}`
	got := strings.ReplaceAll(strings.TrimSpace(string(raw)), o.Name, "app-v1-HASH")
	if diff := cmp.Diff(patch, got); diff != "" {
		t.Errorf("the patch (-want +got):\n%s", diff)
	}
}

func TestALearnedImageIsManaged(t *testing.T) {
	t.Parallel()
	o := learnedImage("api", "registry.test/shop/api:v1")
	if !o.Managed() {
		t.Error("what the learner makes counts as declared")
	}
	for key, value := range o.Labels {
		if errs := validation.IsValidLabelValue(value); len(errs) > 0 {
			t.Errorf("label %s=%s: %v", key, value, errs)
		}
	}
	if o.Spec.Image != "registry.test/shop/api:v1" {
		t.Errorf("the image is %q", o.Spec.Image)
	}
}
