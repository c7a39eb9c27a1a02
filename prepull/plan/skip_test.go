package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// failsOn is a registry that refuses an image to some nodes.
func failsOn(image, words string, nodes ...string) func(node, image string) string {
	return func(node, of string) string {
		if of == image && slices.Contains(nodes, node) {
			return words
		}
		return ""
	}
}

// three images are in the list of a settled cluster, the second of which some nodes cannot pull.
func three(t *testing.T, nodes int, words string, failing ...string) State {
	t.Helper()
	s := State{Nodes: prepulltest.Nodes(nodes), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2), prepulltest.Learned("c:1", 1)}}
	s.settle(t, testOptions, none)
	s.runPods(prepulltest.Noon, failsOn("b:1", words, failing...))
	return s
}

func TestWhichPodsGoOnWithoutAnImage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		words   string
		failing []string
		tries   int32
		rolls   bool
		want    string
	}{
		"nothing fails":                            {"", nil, 0, false, ""},
		"one node is denied it":                    {"403 Forbidden denied", []string{"node-001"}, 0, false, "node-001"},
		"one cannot reach the registry":            {"i/o timeout", []string{"node-001"}, 0, false, ""},
		"one has tried twice":                      {"i/o timeout", []string{"node-001"}, 2, false, ""},
		"one has tried three times":                {"i/o timeout", []string{"node-001"}, 3, false, "node-001"},
		"one has, and nothing waits behind it":     {"i/o timeout", []string{"node-000"}, 9, false, ""},
		"one has, and a roll waits for it":         {"i/o timeout", []string{"node-000"}, 3, true, "node-000"},
		"a registry asks one for rest":             {"429 Too Many Requests", []string{"node-001"}, 3, false, "node-001"},
		"nothing waits behind it for that":         {"429 Too Many Requests", []string{"node-000"}, 9, false, ""},
		"a roll waits for it":                      {"429 Too Many Requests", []string{"node-000"}, 3, true, "node-000"},
		"a roll waits, and it has tried only once": {"429 Too Many Requests", []string{"node-000"}, 1, true, ""},
		"what is denied is given up for nobody":    {"403 Forbidden denied", []string{"node-000"}, 0, false, "node-000"},
		"most fail, so the image is at fault":      {"403 Forbidden denied", []string{"node-000", "node-001", "node-002", "node-003"}, 0, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := three(t, 5, tc.words, tc.failing...)
			if tc.rolls {
				former := s.Pods[len(s.Pods)-1].DeepCopy() // one that is ready
				former.Name, former.Spec.NodeName, former.Labels[v1alpha1.LabelList] = "former", tc.failing[0], "former"
				s.Pods = append(s.Pods, former)
			}
			for _, p := range s.Pods {
				for i := range p.Status.InitContainerStatuses {
					if s := &p.Status.InitContainerStatuses[i]; s.State.Waiting != nil && s.State.Waiting.Reason == "ErrImagePull" && tc.tries > 0 {
						s.State.Waiting.Reason, s.RestartCount = "ImagePullBackOff", tc.tries
					}
				}
			}
			s.Nodes[0].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/c:1"}}}
			p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
			var got []string
			for _, skip := range p.Skips {
				if skip.Container != workload.ObjectName("b:1") {
					t.Errorf("a pod goes on without %s", skip.Container)
				}
				got = append(got, skip.Pod.Spec.NodeName)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("pods go on on %v, want %s", got, tc.want)
			}
			if len(got) > 0 && len(p.Roll) > 0 {
				t.Error("the others get a new list all the same")
			}
		})
	}
}

func TestHowLongANodeGoesWithoutAnImage(t *testing.T) {
	t.Parallel()
	for cause, want := range map[warmth.Cause]time.Duration{
		warmth.CauseNotFound: 30 * time.Minute, warmth.CauseUnreachable: 5 * time.Minute, warmth.CauseRateLimit: time.Minute,
	} {
		if got := skipTime(warmth.Failure{Cause: cause}); got != want {
			t.Errorf("%s: %s, want %s", cause.Reason, got, want)
		}
	}
}

// Each image that a pod goes on without has taken its tries: if the first one's time counted, such a pod would be made anew before it
// is ready.
func TestAPodThatGoesWithoutSeveralImagesTriesAgainAfterTheLast(t *testing.T) {
	t.Parallel()
	s := three(t, 3, "403 Forbidden denied", "node-001")
	f := warmth.Failure{Cause: warmth.CauseUnreachable, Message: "i/o timeout"}
	for _, pod := range s.Pods {
		if pod.Spec.NodeName != "node-001" {
			continue
		}
		pod.Annotations = map[string]string{}
		for i, image := range []string{"b:1", "c:1"} {
			pod.Annotations[v1alpha1.AnnotationSkipped+workload.ObjectName(image)] = warmth.SkippedWords(f, prepulltest.Noon.Add(time.Duration(i+1)*4*time.Minute))
		}
		for i := range pod.Status.InitContainerStatuses {
			pod.Status.InitContainerStatuses[i] = prepulltest.Done(pod.Status.InitContainerStatuses[i].Name, 2*i, 2*i+1)
			pod.Status.InitContainerStatuses[i].Image = "noop"
		}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	if p := Make(s, testOptions, prepulltest.Noon.Add(10*time.Minute)); len(p.DeletePods) > 0 {
		t.Error("it is made anew five minutes after the first")
	}
	if p := Make(s, testOptions, prepulltest.Noon.Add(13*time.Minute)); len(p.DeletePods) != 1 {
		t.Error("it is not made anew five minutes after the last")
	}
}

func TestANodeThatGoesWithoutAnImageTriesAgain(t *testing.T) {
	t.Parallel()
	s := three(t, 3, "403 Forbidden denied", "node-001")
	skipped := prepulltest.Noon.Add(time.Minute)
	p := Make(s, testOptions, skipped)
	if len(p.Skips) != 1 {
		t.Fatalf("%d pods go on", len(p.Skips))
	}
	pod := p.Skips[0].Pod
	pod.Annotations = map[string]string{v1alpha1.AnnotationSkipped + p.Skips[0].Container: warmth.SkippedWords(p.Skips[0].Failure, skipped)}
	if again := Make(s, testOptions, skipped.Add(time.Second)); len(again.Skips) > 0 {
		t.Error("it is told twice")
	}

	// The kubelet runs the rest.
	for i := range pod.Status.InitContainerStatuses {
		pod.Status.InitContainerStatuses[i] = prepulltest.Done(pod.Status.InitContainerStatuses[i].Name, 2*i, 2*i+1)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	p = Make(s, testOptions, skipped.Add(time.Minute))
	s.carryOut(p)
	for image, want := range map[string]string{"a:1": "3/3", "b:1": "2/3", "c:1": "3/3"} {
		if got := s.status(workload.ObjectName(image)).Ready; got != want {
			t.Errorf("%s is on %s nodes, want %s", image, got, want)
		}
	}
	if got := s.status(workload.ObjectName("b:1")).State; got != "PullFailed: access denied" {
		t.Errorf("the image that one node lacks is %s", got)
	}
	due := skipped.Add(30 * time.Minute)
	if len(p.DeletePods) > 0 || !p.Next.Equal(due) {
		t.Errorf("%d pods are made anew, the next look is at %s, want %s", len(p.DeletePods), p.Next, due)
	}
	if p := Make(s, testOptions, due); len(p.DeletePods) != 1 || p.DeletePods[0] != pod {
		t.Errorf("%d pods are made anew when it is time", len(p.DeletePods))
	}
	joining := s
	joining.Pods = slices.Clone(s.Pods)
	for i, p := range joining.Pods {
		if p.Spec.NodeName == "node-002" {
			joining.Pods[i] = p.DeepCopy()
			joining.Pods[i].Status.Conditions = nil
			joining.Pods[i].CreationTimestamp.Time, joining.Pods[i].Status.StartTime = due, &metav1.Time{Time: due}
			joining.Pods[i].Status.InitContainerStatuses[1] = prepulltest.Waits(p.Status.InitContainerStatuses[1].Name, "PodInitializing", "")
		}
	}
	one := testOptions
	one.MaxConcurrentNodes.IntVal = 1
	joining.carryOut(Make(joining, one, due))
	if p := Make(joining, one, due); len(p.DeletePods) > 0 {
		t.Error("it is made anew while another node pulls")
	}

	// Somebody else pulled it meanwhile.
	s.Nodes[1].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/b:1"}}}
	if p := Make(s, testOptions, due); len(p.DeletePods) > 0 {
		t.Error("it is made anew for an image that is there")
	}
	pod.DeletionTimestamp = &metav1.Time{Time: due}
	s.Nodes[1].Status.Images = nil
	s.carryOut(Make(s, testOptions, due))
	if got := s.status(workload.ObjectName("b:1")).Ready; got != "2/3" {
		t.Errorf("while the pod leaves the image is on %s nodes", got)
	}
}
