package measure

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

var scheduledAt = time.Unix(100_000, 0)

func after(seconds int) metav1.Time {
	return metav1.NewTime(scheduledAt.Add(time.Duration(seconds) * time.Second))
}

// started is a pod of one container that started some seconds after it was scheduled, its sandbox after one.
func started(name string, seconds int, change ...func(*corev1.Pod)) corev1.Pod {
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "app"}}},
		Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: after(0)},
				{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: after(1)},
			},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: after(seconds)}}}},
		},
	}
	for _, c := range change {
		c(&pod)
	}
	return pod
}

func ownedBy(kind, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(name), Controller: ptr.To(true)}}
	}
}

// restarted makes the container start anew, some times, after a minute.
func restarted(times int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := &p.Status.ContainerStatuses[0]
		c.RestartCount = times
		c.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{StartedAt: c.State.Running.StartedAt}
		c.State.Running.StartedAt = after(60)
	}
}

func event(pod, path, message string, seconds int) corev1.Event {
	return corev1.Event{
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: types.UID(pod), FieldPath: path},
		Reason:         "Pulled", Message: message, FirstTimestamp: after(seconds),
	}
}

const appPath = "spec.containers{app}"

func TestStartOf(t *testing.T) {
	t.Parallel()
	aPull := []Pull{{Image: "app:v1", PulledSeconds: 5, SizeBytes: 100}}
	for name, test := range map[string]struct {
		pod    corev1.Pod
		events []corev1.Event
		age    time.Duration
		want   *PodStart
	}{
		"a miss": {
			pod: started("p", 8), events: []corev1.Event{event("p", appPath, pulledText, 7)},
			want: &PodStart{Outcome: Miss, SandboxSeconds: 1, PulledSeconds: 5, StartUpSeconds: 8, Pulls: aPull},
		},
		"a pull that leaves the sandbox less than the second that its condition tells": {
			pod: started("p", 24), events: []corev1.Event{event("p", appPath, strings.Replace(pulledText, "5s", "23.448s", 1), 23)},
			want: &PodStart{Outcome: Miss, SandboxSeconds: 0.552, PulledSeconds: 23.448, StartUpSeconds: 24, Pulls: []Pull{{Image: "app:v1", PulledSeconds: 23.448, SizeBytes: 100}}},
		},
		"a hit": {
			pod: started("p", 2), events: []corev1.Event{event("p", appPath, presentText, 1)},
			want: &PodStart{Outcome: Hit, SandboxSeconds: 1, StartUpSeconds: 2},
		},
		"its events are gone": {
			pod: started("p", 8), age: 3 * time.Hour,
			want: &PodStart{Outcome: Unknown, SandboxSeconds: 1, StartUpSeconds: 8},
		},
		"an event of another pod": {
			pod: started("p", 8), events: []corev1.Event{event("q", appPath, presentText, 1)},
			want: &PodStart{Outcome: Unknown, SandboxSeconds: 1, StartUpSeconds: 8},
		},
		"one container's event is missing": {
			pod: started("p", 8, func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "init"}} }), events: []corev1.Event{event("p", appPath, presentText, 1)},
			want: &PodStart{Outcome: Unknown, SandboxSeconds: 1, StartUpSeconds: 8},
		},
		"the pull took longer than the whole seconds of the status": {
			pod: started("p", 4), events: []corev1.Event{event("p", appPath, pulledText, 4)},
			want: &PodStart{Outcome: Miss, PulledSeconds: 5, StartUpSeconds: 5, Pulls: aPull},
		},
		"a restart found the image that the start pulled": {
			pod: started("p", 8, restarted(1)), events: []corev1.Event{event("p", appPath, presentText, 60), event("p", appPath, pulledText, 7)},
			want: &PodStart{Outcome: Miss, SandboxSeconds: 1, PulledSeconds: 5, StartUpSeconds: 8, Pulls: aPull},
		},
		"a restart within the same second": {
			pod: started("p", 8, restarted(1)), events: []corev1.Event{event("p", appPath, presentText, 7), event("p", appPath, pulledText, 7)},
			want: &PodStart{Outcome: Miss, SandboxSeconds: 1, PulledSeconds: 5, StartUpSeconds: 8, Pulls: aPull},
		},
		"restarts have overwritten when it started": {
			pod: started("p", 8, restarted(2)), events: []corev1.Event{event("p", appPath, pulledText, 7)},
			want: &PodStart{Outcome: Miss, PulledSeconds: 5, Pulls: aPull},
		},
		"of an old pod, events are about restarts": {
			pod: started("p", 8, restarted(2)), events: []corev1.Event{event("p", appPath, presentText, 7100)}, age: 2 * time.Hour,
			want: &PodStart{Outcome: Unknown},
		},
		"an image volume was pulled": {
			pod: started("p", 8), events: []corev1.Event{event("p", "", pulledText, 6), event("p", appPath, presentText, 7)},
			want: &PodStart{Outcome: Miss, SandboxSeconds: 1, PulledSeconds: 5, StartUpSeconds: 8, Pulls: aPull},
		},
		"somebody debugs it": {
			pod: started("p", 2), events: []corev1.Event{event("p", appPath, presentText, 1), event("p", "spec.ephemeralContainers{debug}", pulledText, 90)},
			want: &PodStart{Outcome: Hit, SandboxSeconds: 1, StartUpSeconds: 2},
		},
		"it is over": {
			pod: started("p", 2, func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: after(2)}}
			}), events: []corev1.Event{event("p", appPath, presentText, 1)},
			want: &PodStart{Outcome: Hit, SandboxSeconds: 1, StartUpSeconds: 2},
		},
		"it waits for a node":       {pod: started("p", 2, func(p *corev1.Pod) { p.Status = corev1.PodStatus{} })},
		"it waits for its image":    {pod: started("p", 2, func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = corev1.ContainerState{} })},
		"its kubelet is not so far": {pod: started("p", 2, func(p *corev1.Pod) { p.Status.ContainerStatuses = nil })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := firstWords(test.events)[types.UID("p")]
			got, ok := startOf(&test.pod, said, scheduledAt.Add(max(test.age, 2*time.Minute)))
			if ok != (test.want != nil) {
				t.Fatalf("it has started: %v", ok)
			}
			if !ok {
				return
			}
			test.want.Pod, test.want.Node, test.want.ScheduledTime = "p", "node-1", scheduledAt
			if diff := cmp.Diff(*test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecall(t *testing.T) {
	t.Parallel()
	prepull := started("prepull", 9, func(p *corev1.Pod) {
		p.Labels = map[string]string{v1alpha1.LabelName: v1alpha1.Name, v1alpha1.LabelComponent: v1alpha1.ComponentPrepull}
	})
	r := &records{
		pods: []corev1.Pod{
			prepull,
			started("web-1-a", 8, ownedBy("ReplicaSet", "web-1")),
			started("web-2-b", 2, ownedBy("ReplicaSet", "web-2")),
			started("web-2-c", 10, ownedBy("ReplicaSet", "web-2")),
			started("nightly-1-x", 6, ownedBy("Job", "nightly-1")),
			started("alone", 2),
			started("waits", 2, func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }),
		},
		events: []corev1.Event{
			event("web-1-a", appPath, pulledText, 7), event("web-2-b", appPath, presentText, 1), event("nightly-1-x", appPath, pulledText, 6),
		},
		parents: map[types.UID]*metav1.OwnerReference{
			"web-1": {Kind: "Deployment", Name: "web"}, "web-2": {Kind: "Deployment", Name: "web"}, "nightly-1": {Kind: "CronJob", Name: "nightly"},
		},
	}
	h := recall(r, scheduledAt.Add(time.Minute))
	want := Totals{Starts: 5, Hits: 1, Misses: 2, Unknown: 2, PulledSeconds: 10, MedianPulledSeconds: 5, MedianStartUpSeconds: 6, PullShare: ptr.To(0.625)}
	if diff := cmp.Diff(want, h.Totals); diff != "" || h.NotStarted != 1 {
		t.Errorf("%d not started (-want +got):\n%s", h.NotStarted, diff)
	}
	type line struct {
		kind, name string
		Totals
	}
	var got []line
	for _, w := range h.Workloads {
		got = append(got, line{w.Kind, w.Name, w.Totals})
	}
	wanted := []line{
		{"CronJob", "nightly", Totals{Starts: 1, Misses: 1, PulledSeconds: 5, MedianPulledSeconds: 5, MedianStartUpSeconds: 6, PullShare: ptr.To(0.833)}},
		{"Deployment", "web", Totals{Starts: 3, Hits: 1, Misses: 1, Unknown: 1, PulledSeconds: 5, MedianPulledSeconds: 5, MedianStartUpSeconds: 8, PullShare: ptr.To(0.5)}},
		{"Pod", "alone", Totals{Starts: 1, Unknown: 1, MedianStartUpSeconds: 2}},
	}
	if diff := cmp.Diff(wanted, got, cmp.AllowUnexported(line{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
