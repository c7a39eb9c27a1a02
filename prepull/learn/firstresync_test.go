package learn

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// lagging is a cache and an API server that have one PrepullImage, each in the version of a moment; empty: not at all.
type lagging struct {
	client.Client
	start          time.Time
	cached, stored func(since time.Duration) string
}

func (l lagging) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	version := l.cached(time.Since(l.start))
	if version == "" {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "prepullimages"}, key.Name)
	}
	o.SetResourceVersion(version)
	return nil
}

func (l lagging) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if l.stored(time.Since(l.start)) != "" {
		list.(*v1alpha1.PrepullImageList).Items = make([]v1alpha1.PrepullImage, 1)
	}
	return nil
}

func TestNodesAreJudgedOnceWhatTheSurveyWroteIsSeen(t *testing.T) {
	t.Parallel()
	always := func(version string) func(time.Duration) string { return func(time.Duration) string { return version } }
	after := func(wait time.Duration, before, then string) func(time.Duration) string {
		return func(since time.Duration) string {
			if since < wait {
				return before
			}
			return then
		}
	}
	for name, test := range map[string]struct {
		cached, stored func(time.Duration) string
		want           time.Duration
	}{
		"the cache has it":                         {always("7"), always("7"), 0},
		"the cache has something newer":            {always("10"), always("10"), 0},
		"the cache has it after a second":          {after(time.Second, "6", "7"), always("7"), time.Second},
		"the cache does not know it for a minute":  {after(time.Minute, "", "8"), always("7"), time.Minute},
		"it is gone, and so is what the cache had": {always(""), always(""), 0},
		"it is deleted before the cache knows it":  {always(""), after(2*time.Second, "7", ""), 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := lagging{start: time.Now(), cached: test.cached, stored: test.stored}
				r := resync{cached: l, images: newImageStore(l, l, logr.Discard(), testMetrics(t)), clocks: clock.Production()}
				if err := r.waitSeen(t.Context(), versions{"app": "7"}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(l.start); took != test.want {
					t.Errorf("it took %s, want %s", took, test.want)
				}
			})
		})
	}
}

func TestAResyncTellsWhatItWrote(t *testing.T) {
	t.Parallel()
	p := newPinnery(t, workloadtest.PinnedDeployment("api", "app:latest"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: workloadtest.Rewritten}})
	done, err := p.resync.once(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var list v1alpha1.PrepullImageList
	if err := p.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	want := versions{}
	for _, o := range list.Items {
		want[o.Name] = o.ResourceVersion
	}
	if len(want) == 0 || !maps.Equal(want, done.wrote) {
		t.Errorf("it wrote %v, and there is %v", done.wrote, want)
	}
	if done, err = p.resync.once(t.Context(), ""); err != nil || len(done.wrote) > 0 {
		t.Errorf("the next one wrote %v (%v)", done.wrote, err)
	}
}
