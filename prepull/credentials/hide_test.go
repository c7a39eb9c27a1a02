package credentials

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestAPodThatQuotesAPullSecret(t *testing.T) {
	t.Parallel()
	quoting, silent := prepulltest.Waits("a", "ErrImagePull", "denied: planted-1"), prepulltest.Done("b", 1, 2)
	crashed := prepulltest.Waits("c", "CrashLoopBackOff", "back-off")
	crashed.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Message: "planted-1"}
	pod := &corev1.Pod{Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{quoting, silent, crashed}}}
	before := pod.DeepCopy()
	k := &Keeper{exchange: newExchange(Knowledge{}), read: map[v1alpha1.SecretReference]reading{{Namespace: "shop", Name: "key"}: {words: []string{"planted-1"}}}}
	pods := []*corev1.Pod{pod}
	k.publish(k.knowledge())
	k.Known().Hide(pods)
	if got := pods[0].Status.InitContainerStatuses; got[0].State.Waiting.Message != "denied: ***" || got[2].LastTerminationState.Terminated.Message != "***" {
		t.Errorf("got %v", got)
	}
	if diff := cmp.Diff(before, pod); diff != "" {
		t.Errorf("the pod was changed (-before +after):\n%s", diff)
	}

	hider := k.Known().hider
	k.pulls.Off = true
	k.publish(k.knowledge())
	if k.Known().hider != hider {
		t.Error("what hides words is made anew for the same words")
	}
}
