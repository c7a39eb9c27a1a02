package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestRefusedPods(t *testing.T) {
	t.Parallel()
	const name = "kube-prepull-linux-amd64"
	event := func(seconds int, message string) corev1.Event {
		return corev1.Event{
			InvolvedObject: corev1.ObjectReference{Kind: "DaemonSet", Name: name}, Reason: "FailedCreate", Message: message,
			LastTimestamp: metav1.NewTime(prepulltest.Noon.Add(time.Duration(seconds) * time.Second)),
		}
	}
	pod := func(class string, seconds int) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{v1alpha1.LabelNodeClass: class}, CreationTimestamp: metav1.NewTime(prepulltest.Noon.Add(time.Duration(seconds) * time.Second)),
		}}
	}
	const quota = `Error creating: pods "kube-prepull-linux-amd64-x7k2p" is forbidden: exceeded quota: tiny, requested: pods=1, used: pods=2, limited: pods=2`
	for what, c := range map[string]struct {
		events []corev1.Event
		pods   []*corev1.Pod
		want   string
	}{
		"nothing is refused":                  {},
		"a quota":                             {events: []corev1.Event{event(0, quota)}, want: "exceeded quota: tiny, requested: pods=1, used: pods=2, limited: pods=2"},
		"a webhook":                           {events: []corev1.Event{event(0, `Error creating: admission webhook "a.b" denied the request: no`)}, want: `admission webhook "a.b" denied the request: no`},
		"an image policy, and many tries":     {events: []corev1.Event{event(0, `(combined from similar events): Error creating: pods "kube-prepull-linux-amd64-x7k2p" is forbidden: image policy webhook backend denied one or more images: no`)}, want: "image policy webhook backend denied one or more images: no"},
		"a value that is wrong":               {events: []corev1.Event{event(0, `Error creating: Pod "kube-prepull-linux-amd64-x7k2p" is invalid: spec.x: Required value`)}, want: "spec.x: Required value"},
		"the last one counts":                 {events: []corev1.Event{event(2, quota), event(9, "Error creating: b"), event(3, "Error creating: c")}, want: "b"},
		"a pod was made since":                {events: []corev1.Event{event(2, quota)}, pods: []*corev1.Pod{pod("linux-amd64", 3)}},
		"another class's pod was made since":  {events: []corev1.Event{event(2, "Error creating: b")}, pods: []*corev1.Pod{pod("linux-arm64", 3)}, want: "b"},
		"some are made, some are not":         {events: []corev1.Event{event(3, "Error creating: b")}, pods: []*corev1.Pod{pod("linux-amd64", 3)}, want: "b"},
		"two at a time, in whichever order":   {events: []corev1.Event{event(3, "Error creating: b"), event(3, "Error creating: a")}, want: "a"},
		"two at a time, in the other order":   {events: []corev1.Event{event(3, "Error creating: a"), event(3, "Error creating: b")}, want: "a"},
		"words that look like those of a pod": {events: []corev1.Event{event(3, "Error creating: a policy says: it is forbidden: no")}, want: "a policy says: it is forbidden: no"},
	} {
		want := map[string]string{}
		if c.want != "" {
			want[name] = c.want
		}
		if diff := cmp.Diff(want, RefusedPods(c.events, c.pods)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestLacksPods(t *testing.T) {
	t.Parallel()
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelList: "new"}}}
	pod := func(node, list string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelList: list}}, Spec: corev1.PodSpec{NodeName: node}}
	}
	leaving := pod("a", "new")
	leaving.DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon}
	for what, c := range map[string]struct {
		pods []*corev1.Pod
		want bool
	}{
		"none":               {nil, true},
		"all":                {[]*corev1.Pod{pod("a", "new"), pod("b", "new")}, false},
		"one has none":       {[]*corev1.Pod{pod("a", "new")}, true},
		"one has the former": {[]*corev1.Pod{pod("a", "new"), pod("b", "old")}, true},
		"one is leaving":     {[]*corev1.Pod{leaving, pod("b", "new")}, true},
	} {
		class := &nodeclass.Class{Pullable: []*corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, {ObjectMeta: metav1.ObjectMeta{Name: "b"}}}}
		if got := lacksPods(class, ds, c.pods); got != c.want {
			t.Errorf("%s: got %v", what, got)
		}
	}
}

func TestWithoutHeld(t *testing.T) {
	t.Parallel()
	spec := corev1.PodSpec{
		Volumes: []corev1.Volume{
			{Name: "noop", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "a", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "a:1"}}},
		},
		Containers: []corev1.Container{{Name: "wait", VolumeMounts: []corev1.VolumeMount{{Name: "noop", MountPath: "/n"}, {Name: "a", MountPath: "/a"}}}},
	}
	was := *spec.DeepCopy()
	got := WithoutHeld(spec)
	if diff := cmp.Diff(was, spec); diff != "" {
		t.Errorf("the pod itself is changed (-before +after):\n%s", diff)
	}
	if HeldIn(&spec) != 1 || HeldIn(&got) != 0 || len(got.Volumes) != 1 || len(got.Containers[0].VolumeMounts) != 1 {
		t.Errorf("got %+v", got)
	}
}
