package plan

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// failAs lets the kubelets of all nodes fail on an image for the third time, and carries out what comes of that.
func (s *State) failAs(image, words string, at time.Time) {
	s.runFailing(image, words, prepulltest.Noon)
	s.carryOut(Make(*s, warmingOptions(), at))
}

// runFailing makes the pods anew, on all of which an image fails, if it is in the list.
func (s *State) runFailing(image, words string, created time.Time) {
	s.runPods(created, func(_, i string) string {
		if i == image {
			return words
		}
		return ""
	})
	for _, pod := range s.Pods {
		for i := range pod.Status.InitContainerStatuses {
			if w := pod.Status.InitContainerStatuses[i].State.Waiting; w != nil && w.Reason == "ErrImagePull" {
				w.Reason, pod.Status.InitContainerStatuses[i].RestartCount = "ImagePullBackOff", 3
			}
		}
	}
}

// A failing image leaves the list of its class at once. A node that has nothing else is not warm for that, and is let go as one whose
// images fail; where the registry asks for rest, it waits until the image comes, or its deadline passes.
func TestTheFirstNodesOfAClassWhoseImageFails(t *testing.T) {
	t.Parallel()
	const notFound, limited, unreachable = "app:1: not found", "429 Too Many Requests", "connection refused"
	for name, tc := range map[string]struct {
		words          string
		others         []string
		after          time.Duration
		release        ReleaseReason
		status, reason string
		says           string
	}{
		"not found":                         {notFound, nil, 20 * time.Second, ReleaseFailing, "False", "AllFailed", "0 of 1 images, 0 pulling; app:1 cannot be pulled: not found"},
		"a rate limit":                      {limited, nil, 20 * time.Second, "", "False", "Pending", "0 of 1 images, 0 pulling; app:1 cannot be pulled: rate limit reached"},
		"a rate limit, much later":          {limited, nil, 4 * time.Minute, "", "False", "Pending", "0 of 1 images, 0 pulling; app:1 cannot be pulled: rate limit reached"},
		"a rate limit until the deadline":   {limited, nil, 5 * time.Minute, ReleaseDeadline, "False", "Pending", "0 of 1 images, 0 pulling; app:1 cannot be pulled: rate limit reached"},
		"no answer, at first":               {unreachable, nil, 30 * time.Second, "", "False", "Pending", "0 of 1 images, 0 pulling; app:1 cannot be pulled: registry unreachable"},
		"no answer for a minute":            {unreachable, nil, 90 * time.Second, ReleaseFailing, "False", "AllFailed", "0 of 1 images, 0 pulling; app:1 cannot be pulled: registry unreachable"},
		"not found beside another image":    {notFound, []string{"good:1"}, 20 * time.Second, ReleaseWarm, "True", "ImagesPresent", "1 of 1 images"},
		"a rate limit beside another image": {limited, []string{"good:1"}, 20 * time.Second, "", "False", "Pulling", "1 of 2 images, 0 pulling; app:1 cannot be pulled: rate limit reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{inUse("app:1")}}
			for i := range s.Nodes {
				s.Nodes[i].CreationTimestamp.Time = prepulltest.Noon
				s.Nodes[i].Spec.Taints = []corev1.Taint{{Key: v1alpha1.TaintWarming, Effect: corev1.TaintEffectNoSchedule}}
			}
			for _, other := range tc.others {
				s.Images = append(s.Images, inUse(other))
			}
			s.carryOut(Make(s, warmingOptions(), prepulltest.Noon))
			s.failAs("app:1", tc.words, prepulltest.Noon.Add(10*time.Second))
			s.runFailing("app:1", tc.words, prepulltest.Noon.Add(11*time.Second)) // with what is left of the list
			p := Make(s, warmingOptions(), prepulltest.Noon.Add(tc.after))
			if len(p.Conditions) != 2 {
				t.Fatalf("conditions %+v", p.Conditions)
			}
			if c := p.Conditions[0].Condition; string(c.Status) != tc.status || c.Reason != tc.reason || c.Message != tc.says {
				t.Errorf("the condition is %s, %s: %q", c.Status, c.Reason, c.Message)
			}
			if (len(p.Releases) == 2) != (tc.release != "") {
				t.Fatalf("releases %+v", p.Releases)
			}
			for _, r := range p.Releases {
				if r.Reason != tc.release || tc.release != ReleaseWarm && !strings.Contains(r.Words, "app:1") {
					t.Errorf("released as %s: %q", r.Reason, r.Words)
				}
			}
		})
	}
}

// Trouble that may pass is waited for as long as ever, however soon the deadline is.
func TestTroubleIsWaitedForWithAShortDeadline(t *testing.T) {
	t.Parallel()
	o := warmingOptions()
	o.Gate.Deadline = 2 * time.Minute
	app := inUse("app:1")
	app.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 1, Reason: "RegistryUnreachable", Time: metav1.NewTime(prepulltest.Noon.Add(5 * time.Minute))}}
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{app}}
	s.Nodes[0].CreationTimestamp.Time = prepulltest.Noon
	s.Nodes[0].Spec.Taints = []corev1.Taint{{Key: v1alpha1.TaintWarming, Effect: corev1.TaintEffectNoSchedule}}
	for after, want := range map[time.Duration]int{30 * time.Second: 0, 61 * time.Second: 1} {
		if p := Make(s, o, prepulltest.Noon.Add(after)); len(p.Releases) != want {
			t.Errorf("after %s releases %+v", after, p.Releases)
		}
	}
}

// Nobody waits for a try that comes after the deadline.
func TestARateLimitThatLastsHoldsNobody(t *testing.T) {
	t.Parallel()
	app := inUse("app:1")
	app.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 6, Reason: "RateLimited", Time: metav1.NewTime(prepulltest.Noon.Add(30 * time.Minute))}}
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{app}}
	s.Nodes[0].CreationTimestamp.Time = prepulltest.Noon
	s.Nodes[0].Spec.Taints = []corev1.Taint{{Key: v1alpha1.TaintWarming, Effect: corev1.TaintEffectNoSchedule}}
	p := Make(s, warmingOptions(), prepulltest.Noon.Add(time.Second))
	if len(p.Releases) != 1 || p.Releases[0].Reason != ReleaseFailing {
		t.Errorf("releases %+v", p.Releases)
	}
}

// On nodes that had no list before, an image whose registry asks for rest goes last, and stays: its kubelets get it as soon as they may.
func TestARateLimitKeepsAnImageInTheListOfTheFirstNodes(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{inUse("app:1"), inUse("good:1")}}
	s.carryOut(Make(s, warmingOptions(), prepulltest.Noon))
	for second := 10; second < 3600; second += 10 {
		at := prepulltest.Noon.Add(time.Duration(second) * time.Second)
		s.runFailing("app:1", "429 Too Many Requests", at.Add(-time.Second))
		s.carryOut(Make(s, warmingOptions(), at))
		if list := strings.Join(s.listOf("linux-amd64"), " "); list != "good:1 app:1" {
			t.Fatalf("after %d seconds the list is %s", second, list)
		}
		if p := Make(s, warmingOptions(), at.Add(time.Second)); len(p.Roll)+len(p.UpdateInPlace)+len(p.Skips)+len(p.DeletePods)+len(p.Statuses) > 0 {
			t.Fatalf("after %d seconds more is written of what is written", second)
		}
	}
	s.runPods(prepulltest.Noon.Add(time.Hour), nothingFails)
	p := Make(s, warmingOptions(), prepulltest.Noon.Add(time.Hour))
	s.carryOut(p)
	if got := s.status(workload.ObjectName("app:1")); len(p.Roll) > 0 || got.State != StateReady || len(got.Retries) > 0 {
		t.Errorf("when it has come, %d lists are written, and its state is %s, %+v", len(p.Roll), got.State, got.Retries)
	}
}

// Where nodes have a list already, a roll waits for them, so the image leaves. A registry that asked for rest is asked again after a
// minute: a node that waits has the image before its deadline.
func TestARateLimitThatEndsLetsTheImageCome(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{inUse("good:1")}}
	s.settle(t, warmingOptions(), none)
	former := s.Pods
	s.Images = append(s.Images, inUse("app:1"))
	s.carryOut(Make(s, warmingOptions(), prepulltest.Noon))
	s.runFailing("app:1", "429 Too Many Requests", prepulltest.Noon)
	s.Pods = append(s.Pods, former...)
	s.carryOut(Make(s, warmingOptions(), prepulltest.Noon.Add(10*time.Second)))
	if list := s.listOf("linux-amd64"); len(list) != 1 {
		t.Fatalf("the others wait behind it: %v", list)
	}
	s.runPods(prepulltest.Noon.Add(11*time.Second), none)
	p := Make(s, warmingOptions(), prepulltest.Noon.Add(20*time.Second))
	if want := prepulltest.Noon.Add(70 * time.Second); p.Next.After(want) {
		t.Errorf("the next look is at %v", p.Next)
	}
	s.carryOut(Make(s, warmingOptions(), prepulltest.Noon.Add(70*time.Second)))
	if list := s.listOf("linux-amd64"); len(list) != 2 || list[1] != "app:1" {
		t.Errorf("after a minute the list is %v", list)
	}
}
