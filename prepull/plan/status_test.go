package plan

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	notFound := &warmth.Failure{Cause: warmth.CauseNotFound, Message: "a:1: not found"}
	retries := []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 1, Time: metav1.NewTime(prepulltest.Noon)}}
	failedBefore := func(o *v1alpha1.PrepullImage) {
		o.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionPullFailed, Status: metav1.ConditionTrue, Reason: "NotFound", Message: "Node a: gone",
		}}
	}
	skippedBefore := func(message string) func(*v1alpha1.PrepullImage) {
		return func(o *v1alpha1.PrepullImage) {
			o.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionSelected, Status: metav1.ConditionFalse, Reason: "OverBudget", Message: message,
			}}
		}
	}
	places := skip{"OverBudget", "A node gets 2 images at most (maxImagesPerNode)", ", and 3 go before this one."}
	for name, tc := range map[string]struct {
		summary summary
		before  func(*v1alpha1.PrepullImage)
		state   string
		ready   string
		// conditions are Selected, Ready and PullFailed, each as reason: message.
		conditions [3]string
	}{
		"every node has it": {
			summary{desired: 2, ready: 2}, nil, "Ready", "2/2",
			[3]string{"WithinBudget: The image has a place on the nodes.", "OnEveryNode: Every node that wants the image has it.", "NoFailure: No node has trouble with the image."},
		},
		"a node pulls it": {
			summary{desired: 2, ready: 1, pulling: true}, nil, "Pulling", "1/2",
			[3]string{"WithinBudget", "Pulling: A node is pulling the image.", "NoFailure"},
		},
		"it waits behind others": {
			summary{desired: 2}, nil, "Pending", "0/2", [3]string{"WithinBudget", "Pending: The image waits for its turn.", "NoFailure"},
		},
		"no node waits for anything now": {
			summary{}, nil, "Pending", "0/0", [3]string{"WithinBudget", "Pending", "NoFailure"},
		},
		"a node cannot pull it": {
			summary{desired: 2, ready: 1, failed: 1, failure: notFound, failureNode: "b"}, nil, "PullFailed: not found", "1/2",
			[3]string{"WithinBudget", "PullFailed: The image cannot be pulled; see the condition PullFailed.", "NotFound: Node b: a:1: not found"},
		},
		"the words of the first failure stay": {
			summary{desired: 2, failed: 1, failure: notFound, failureNode: "b"}, failedBefore, "PullFailed: not found", "0/2",
			[3]string{"WithinBudget", "PullFailed", "NotFound: Node a: gone"},
		},
		"another failure has its own words": {
			summary{desired: 2, failed: 1, failure: &warmth.Failure{Cause: warmth.CauseDenied, Message: "401"}, failureNode: "b"}, failedBefore, "PullFailed: access denied", "0/2",
			[3]string{"WithinBudget", "PullFailed", "Denied: Node b: 401"},
		},
		"it waits for its next try": {
			summary{desired: 2, retries: retries}, failedBefore, "PullFailed: not found", "0/2",
			[3]string{"WithinBudget", "PullFailed", "NotFound: Node a: gone"},
		},
		"it waits for its next try and nobody knows why": {
			summary{desired: 2, retries: retries}, nil, "PullFailed: see the condition PullFailed", "0/2",
			[3]string{"WithinBudget", "PullFailed", "Other: The image could not be pulled; it is tried again later."},
		},
		"it works again": {
			summary{desired: 2, ready: 2}, failedBefore, "Ready", "2/2", [3]string{"WithinBudget", "OnEveryNode", "NoFailure"},
		},
		"it has no place": {
			summary{skipped: skip{reason: "NoNodes", why: "No Linux node matches what its pods ask of a node."}}, nil, "Skipped: NoNodes", "",
			[3]string{"NoNodes: No Linux node matches what its pods ask of a node.", "Skipped: The image has no place on the nodes; see the condition Selected.", "NoFailure"},
		},
		"it is over the budget": {
			summary{skipped: places}, nil, "Skipped: OverBudget", "",
			[3]string{"OverBudget: A node gets 2 images at most (maxImagesPerNode), and 3 go before this one.", "Skipped", "NoFailure"},
		},
		"the number that it was told first stays": {
			summary{skipped: places}, skippedBefore(places.why + ", and 9 go before this one."), "Skipped: OverBudget", "",
			[3]string{"OverBudget: A node gets 2 images at most (maxImagesPerNode), and 9 go before this one.", "Skipped", "NoFailure"},
		},
		"another budget has its own words": {
			summary{skipped: places}, skippedBefore("A node gets 1 images at most (maxImagesPerNode), and 9 go before this one."), "Skipped: OverBudget", "",
			[3]string{"OverBudget: A node gets 2 images at most (maxImagesPerNode), and 3 go before this one.", "Skipped", "NoFailure"},
		},
		"it is too large now, and was over the budget": {
			summary{skipped: skip{"OverBudget", "The images take 30 GB at most, and this one alone takes 40 GB.", ""}}, skippedBefore("The images take 30 GB at most, and 3 go before this one."),
			"Skipped: OverBudget", "", [3]string{"OverBudget: The images take 30 GB at most, and this one alone takes 40 GB.", "Skipped", "NoFailure"},
		},
		"some classes leave it out": {
			summary{desired: 2, ready: 2, over: places, overClasses: 1, usingClasses: 3}, nil, "Ready", "2/2",
			[3]string{"PartlyOverBudget: The image has a place on the nodes of some classes, and 1 of 3 leave it out: A node gets 2 images at most (maxImagesPerNode).", "OnEveryNode", "NoFailure"},
		},
		"the prepull pods do not start": {
			summary{desired: 2, broken: &warmth.Failure{Message: "noop: not found"}, brokenNode: "a"}, nil, "Pending", "0/2",
			[3]string{"WithinBudget", "PrepullPodFails: The prepull pod of node a does not get to its images: noop: not found", "NoFailure"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := prepulltest.Learned("a:1", 1)
			o.Generation = 7
			if tc.before != nil {
				tc.before(&o)
			}
			got := tc.summary.status(&o, prepulltest.Noon)
			if got.State != tc.state || got.Ready != tc.ready {
				t.Errorf("%q %q, want %q %q", got.State, got.Ready, tc.state, tc.ready)
			}
			for i, kind := range []string{v1alpha1.ConditionSelected, v1alpha1.ConditionReady, v1alpha1.ConditionPullFailed} {
				c := meta.FindStatusCondition(got.Conditions, kind)
				if text := c.Reason + ": " + c.Message; !strings.HasPrefix(text, tc.conditions[i]) || c.ObservedGeneration != 7 {
					t.Errorf("%s is %q, want %q", kind, text, tc.conditions[i])
				}
			}
			o.Status.Conditions, o.Status.State, o.Status.Ready = got.Conditions, got.State, got.Ready
			o.Status.Nodes, o.Status.Retries, o.Status.FirstReadyTime = got.Nodes, got.Retries, got.FirstReadyTime
			if diff := cmp.Diff(got, tc.summary.status(&o, prepulltest.Noon.Add(time.Hour))); diff != "" {
				t.Errorf("an hour later (-want +got):\n%s", diff)
			}
		})
	}
}

// The page for troubleshooting, and people who search it, know them by these words.
func TestTheWordsOfStates(t *testing.T) {
	t.Parallel()
	words := map[string]string{
		"NotFound": "PullFailed: not found", "Denied": "PullFailed: access denied", "NoMatchingPlatform": "PullFailed: not built for these nodes",
		"InvalidImage": "PullFailed: invalid image", "SignatureRejected": "PullFailed: signature rejected", "RateLimited": "PullFailed: rate limit reached",
		"DiskFull": "PullFailed: disk full", "RegistryUnreachable": "PullFailed: registry unreachable", "DeadlineExceeded": "PullFailed: no answer in time",
		"CannotStart": "PullFailed: cannot start a container", "Other": "PullFailed: see the condition PullFailed",
	}
	o := prepulltest.Learned("a:1", 1)
	for _, cause := range warmth.Causes {
		s := summary{desired: 1, failed: 1, failure: &warmth.Failure{Cause: cause, Message: "no"}, failureNode: "a"}
		if got := s.status(&o, prepulltest.Noon).State; got != words[cause.Reason] {
			t.Errorf("%s is %q, want %q", cause.Reason, got, words[cause.Reason])
		}
	}
	for reason, want := range map[string]string{skippedWithheld: "Skipped: SecretWithheld", skippedInvalid: "Skipped: InvalidImage"} {
		if got := (summary{skipped: skip{reason: reason, why: "No."}}).status(&o, prepulltest.Noon).State; got != want {
			t.Errorf("%s is %q, want %q", reason, got, want)
		}
	}
	s := &State{Refused: map[string]string{"a": "no"}, RefusedPods: map[string]string{"b": "no"}}
	for class, want := range map[string]string{"a": "DaemonSetRefused: The prepull DaemonSet cannot be written: no", "b": "PodsRefused: Prepull pods are refused: no"} {
		got := summary{desired: 1, refused: s.refusalOf(class)}.status(&o, prepulltest.Noon)
		if c := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionReady); got.State != "Pending" || c.Reason+": "+c.Message != want {
			t.Errorf("%s, and the condition is %s: %s, want %q", got.State, c.Reason, c.Message, want)
		}
	}
}

func TestWhatIsKnownOfAnImageIsKept(t *testing.T) {
	t.Parallel()
	o := prepulltest.Learned("a:1", 1)
	o.Status.SizeBytes, o.Status.LastPullSeconds = 1_200_000_000, 107
	everywhere := metav1.NewTime(prepulltest.Noon.Add(-time.Hour))
	for name, tc := range map[string]struct {
		summary summary
		came    *metav1.Time
		size    string
		seconds int64
	}{
		"a node that does not list the image says nothing about its size": {summary{}, nil, "1.2 GB", 107},
		"a node that had it already says nothing about the pull":          {summary{slowest: time.Second}, nil, "1.2 GB", 107},
		"a slower node does":                                {summary{slowest: 190 * time.Second}, nil, "1.2 GB", 190},
		"a roll over nodes that have it does not":           {summary{slowest: 5 * time.Second}, &everywhere, "1.2 GB", 107},
		"a roll that takes long over such nodes does not":   {summary{slowest: 190 * time.Second}, &everywhere, "1.2 GB", 107},
		"a size that is reported takes the place of a size": {summary{size: 85_000_000}, nil, "85 MB", 107},
	} {
		o.Status.FirstReadyTime = tc.came
		got := tc.summary.status(&o, prepulltest.Noon)
		if got.Size != tc.size || got.LastPullSeconds != tc.seconds {
			t.Errorf("%s: %s, %d s", name, got.Size, got.LastPullSeconds)
		}
	}
}

func TestOnlyProgress(t *testing.T) {
	t.Parallel()
	base := summary{desired: 3, ready: 1}
	o := prepulltest.Learned("a:1", 1)
	old := base.status(&o, prepulltest.Noon)
	for name, tc := range map[string]struct {
		summary summary
		want    bool
	}{
		"one more node":     {summary{desired: 3, ready: 2}, true},
		"a size":            {summary{desired: 3, ready: 1, size: 5}, true},
		"the last node":     {summary{desired: 3, ready: 3}, false},
		"a failure":         {summary{desired: 3, ready: 1, failure: &warmth.Failure{Cause: warmth.CauseOther}}, false},
		"a first condition": {base, false},
	} {
		before := old
		if name == "a first condition" {
			before = Observed{State: old.State}
		}
		if got := onlyProgress(before, tc.summary.status(&o, prepulltest.Noon)); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestTheStatusLeavesTheLearnersFieldsAlone(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(Observed{})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"conditions": nil, "state": "", "sizeBytes": 0.0, "size": "", "ready": "", "lastPullSeconds": 0.0, "retries": nil,
		"firstReadyTime": nil,
		"nodes":          map[string]any{"desired": 0.0, "ready": 0.0, "failed": 0.0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
}

func TestHumanSize(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]string{
		0: "", -1: "", 7: "7 B", 999: "999 B", 1000: "1.0 KB", 9_949: "9.9 KB", 9_950: "10 KB", 84_600: "85 KB",
		999_499: "999 KB", 999_500: "1.0 MB", 1_250_000_000: "1.2 GB", 15_000_000_000: "15 GB", 2_000_000_000_000_000: "2000 TB",
	} {
		if got := v1alpha1.HumanSize(bytes); got != want {
			t.Errorf("v1alpha1.HumanSize(%d) = %q, want %q", bytes, got, want)
		}
	}
}
