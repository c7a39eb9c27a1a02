package learn

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// An object that is declared with an end is looked at when that may have come; whoever lists them at the start looks at all anyway.
func TestAnImageWithAnEndIsLookedAt(t *testing.T) {
	t.Parallel()
	passing, lasting := prepulltest.Declared("passing", "app:v1"), prepulltest.Declared("lasting", "app:v1")
	passing.Spec.TTL = &metav1.Duration{Duration: time.Hour}
	handlers := (&resync{}).onImageChange()
	for name, test := range map[string]struct {
		made event.CreateEvent
		want []string
	}{
		"with an end":           {event.CreateEvent{Object: &passing}, []string{"everything"}},
		"with one at the start": {event.CreateEvent{Object: &passing, IsInInitialList: true}, nil},
		"without an end":        {event.CreateEvent{Object: &lasting}, nil},
	} {
		q := &asked{}
		handlers.CreateFunc(t.Context(), test.made, q)
		if diff := cmp.Diff(test.want, q.names); diff != "" {
			t.Errorf("%s it asks for (-want +got):\n%s", name, diff)
		}
	}
}
