package learn

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// asked notes what is put into a queue.
type asked struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	names []string
}

func (a *asked) AddAfter(r reconcile.Request, _ time.Duration) {
	name := r.Name
	if r == everything {
		name = "everything"
	}
	a.names = append(a.names, name)
}

func TestOptChange(t *testing.T) {
	t.Parallel()
	namespace := func(name, enabled string) *metav1.PartialObjectMetadata {
		ns := workload.NamespaceMetadata()
		ns.Name, ns.Labels = name, map[string]string{v1alpha1.LabelEnabled: enabled}
		return ns
	}
	on, off := namespace("shop", "true"), namespace("shop", "false")
	ours := namespace("kube-prepull", "true")
	mode := func(of *metav1.PartialObjectMetadata, value string) *metav1.PartialObjectMetadata {
		ns := of.DeepCopy()
		ns.Labels[v1alpha1.LabelRewrite] = value
		return ns
	}
	latest, tags, none := mode(on, "latest"), mode(on, "tags"), mode(on, "none")
	handlers := (&resync{namespace: "kube-prepull"}).onOptChange()
	for name, test := range map[string]struct {
		happens any
		want    []string
	}{
		"a namespace is made opted in":        {event.CreateEvent{Object: on}, []string{"shop"}},
		"one is there at the start":           {event.CreateEvent{Object: on, IsInInitialList: true}, nil},
		"one is made that is not opted in":    {event.CreateEvent{Object: off}, nil},
		"our own is made":                     {event.CreateEvent{Object: ours}, nil},
		"one opts in":                         {event.UpdateEvent{ObjectOld: off, ObjectNew: on}, []string{"shop"}},
		"one opts out":                        {event.UpdateEvent{ObjectOld: on, ObjectNew: off}, []string{"everything"}},
		"one changes in another way":          {event.UpdateEvent{ObjectOld: on, ObjectNew: on}, nil},
		"one has its images pinned":           {event.UpdateEvent{ObjectOld: on, ObjectNew: latest}, []string{"shop"}},
		"one has them pinned no longer":       {event.UpdateEvent{ObjectOld: tags, ObjectNew: on}, []string{"shop"}},
		"one has other images pinned":         {event.UpdateEvent{ObjectOld: latest, ObjectNew: tags}, nil},
		"one gets a value that means nothing": {event.UpdateEvent{ObjectOld: on, ObjectNew: none}, nil},
		"one that is not opted in is pinned":  {event.UpdateEvent{ObjectOld: off, ObjectNew: mode(off, "latest")}, nil},
		"one opts in with its images pinned":  {event.UpdateEvent{ObjectOld: off, ObjectNew: latest}, []string{"shop"}},
		"one opts out and is pinned no more":  {event.UpdateEvent{ObjectOld: latest, ObjectNew: off}, []string{"everything"}},
		"one is deleted":                      {event.DeleteEvent{Object: on}, []string{"everything"}},
		"one is deleted that is not opted in": {event.DeleteEvent{Object: off}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &asked{}
			switch e := test.happens.(type) {
			case event.CreateEvent:
				handlers.CreateFunc(t.Context(), e, q)
			case event.UpdateEvent:
				handlers.UpdateFunc(t.Context(), e, q)
			case event.DeleteEvent:
				handlers.DeleteFunc(t.Context(), e, q)
			}
			if diff := cmp.Diff(test.want, q.names); diff != "" {
				t.Errorf("it asks for (-want +got):\n%s", diff)
			}
		})
	}
}
