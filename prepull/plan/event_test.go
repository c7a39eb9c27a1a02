package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestNotices(t *testing.T) {
	t.Parallel()
	notFound := &warmth.Failure{Cause: warmth.CauseNotFound, Message: "a:1: not found"}
	fine := summary{desired: 2, ready: 2}
	broken := summary{desired: 2, failed: 1, failure: notFound, failureNode: "n1"}
	retried := summary{desired: 2, retries: []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 2, Time: metav1.NewTime(prepulltest.Noon)}}}
	denied := summary{desired: 2, failed: 1, failure: &warmth.Failure{Cause: warmth.CauseDenied, Message: "401"}, failureNode: "n1"}
	over := summary{skipped: skip{"OverBudget", "A node gets 2 images at most (maxImagesPerNode)", ", and 3 go before this one."}}
	gone := summary{skipped: skip{reason: "NoNodes", why: "No Linux node matches what its pods ask of a node."}}
	cold := "Deployment web: ImageNotPrepulled a:1 cannot be pulled before pods need it: not found. It is tried again later; see PrepullImage " + workload.ObjectName("a:1") + "."
	for name, tc := range map[string]struct {
		summaries []summary
		want      []string
	}{
		"an image that works is no news":                {[]summary{fine, fine}, nil},
		"a failure is told once, at the workload too":   {[]summary{fine, broken, broken, retried, denied}, []string{"PullFailed Node n1: a:1: not found", cold}},
		"what is mended is told":                        {[]summary{broken, retried, fine, fine}, []string{"PullFailed Node n1: a:1: not found", cold, "PullRecovered No node has trouble with the image."}},
		"an image that loses its place is told once":    {[]summary{fine, over, over, fine}, []string{"OverBudget A node gets 2 images at most (maxImagesPerNode), and 3 go before this one.", "WithinBudget The image has a place on the nodes."}},
		"an image without nodes is its own wish":        {[]summary{fine, gone, fine}, nil},
		"what nobody tries any more has not recovered":  {[]summary{broken, gone}, []string{"PullFailed Node n1: a:1: not found", cold}},
		"over budget and then without nodes is no news": {[]summary{over, gone}, []string{"OverBudget A node gets 2 images at most (maxImagesPerNode), and 3 go before this one."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := prepulltest.Learned("a:1", 1)
			o.Status.Users = []v1alpha1.User{{Kind: "Deployment", Namespace: "shop", Name: "web", UID: "7"}}
			var got []string
			for i, s := range tc.summaries {
				old, next := observedOf(o.Status), s.status(&o, prepulltest.Noon.Add(time.Duration(i)*time.Minute))
				for _, n := range noticesOf(&o, old, next, prepulltest.Noon) {
					words := n.Reason + " " + n.message
					if n.About.Kind != "PrepullImage" {
						words = n.About.Kind + " " + n.About.Name + ": " + words
					}
					got = append(got, words)
				}
				o.Status.Conditions, o.Status.State = next.Conditions, next.State
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheEventOfANotice(t *testing.T) {
	t.Parallel()
	object := prepulltest.Learned("a:1", 1)
	object.Status.Users = []v1alpha1.User{{Kind: "CronJob", Namespace: "shop", Name: strings.Repeat("a", 199) + "." + strings.Repeat("b", 50), UID: "7"}}
	words := strings.Repeat("ä", 1024)
	broken := summary{desired: 1, failed: 1, failure: &warmth.Failure{Cause: warmth.CauseOther, Message: words}, failureNode: "n1"}
	notices := noticesOf(&object, Observed{}, broken.status(&object, prepulltest.Noon), prepulltest.Noon)
	if len(notices) != 2 {
		t.Fatalf("%d notices, want 2", len(notices))
	}
	about, user := notices[0].Event(), notices[1].Event()
	if about.Namespace != "default" || about.InvolvedObject.Namespace != "" || about.InvolvedObject.APIVersion != "kube-prepull.io/v1alpha1" {
		t.Errorf("the Event is in %q, about %+v", about.Namespace, about.InvolvedObject)
	}
	if user.Namespace != "shop" || user.InvolvedObject.APIVersion != "batch/v1" || !strings.HasPrefix(user.Name, strings.Repeat("a", 199)+".") || len(user.Name) > 253 {
		t.Errorf("the Event %s is in %q, about %+v", user.Name, user.Namespace, user.InvolvedObject)
	}
	if len(about.Message) > 1024 || strings.ContainsRune(about.Message, '\uFFFD') {
		t.Errorf("the message has %d bytes: %s", len(about.Message), about.Message)
	}
	if again := notices[0].Event(); again.Name != about.Name || about.Name == user.Name {
		t.Errorf("names are %s, %s and %s", about.Name, again.Name, user.Name)
	}
}

// What is told in a namespace names nothing of another one: neither who else uses the image, nor nodes, nor what a registry says,
// which may be about the credentials of others. All that is at the object, whose Events are in the namespace default.
func TestAnEventInANamespaceNamesNothingOfOthers(t *testing.T) {
	t.Parallel()
	others := []string{"secret-shop", "their-api", "their-login", "node-of-others", "quoted by the registry"}
	for name, failure := range map[string]*warmth.Failure{
		"denied":    {Cause: warmth.CauseDenied, Message: "their-login of secret-shop: 401, quoted by the registry"},
		"not found": {Cause: warmth.CauseNotFound, Message: "quoted by the registry"},
		"other":     {Cause: warmth.CauseOther, Message: "quoted by the registry, at node-of-others"},
	} {
		o := prepulltest.Learned("a:1", 1)
		o.Status.Users = []v1alpha1.User{{Kind: "Deployment", Namespace: "shop", Name: "web", UID: "7"}, {Kind: "Job", Namespace: "secret-shop", Name: "their-api", UID: "8"}}
		o.Status.PullSecrets = []v1alpha1.SecretReference{{Namespace: "secret-shop", Name: "their-login"}}
		broken := summary{desired: 2, failed: 1, failure: failure, failureNode: "node-of-others"}
		next := broken.status(&o, prepulltest.Noon)
		told := map[string]int{}
		for _, n := range noticesOf(&o, Observed{}, next, prepulltest.Noon) {
			e := n.Event()
			told[e.Namespace]++
			if e.Namespace != "shop" {
				continue
			}
			for _, words := range others {
				if strings.Contains(e.Message+e.Name+e.InvolvedObject.Name, words) {
					t.Errorf("%s: the Event in shop tells of %q: %s", name, words, e.Message)
				}
			}
		}
		if diff := cmp.Diff(map[string]int{"default": 1, "shop": 1, "secret-shop": 1}, told); diff != "" {
			t.Errorf("%s: Events by namespace (-want +got):\n%s", name, diff)
		}
	}
}

func TestTheFirstTimeThatAnImageIsReady(t *testing.T) {
	t.Parallel()
	o := prepulltest.Learned("a:1", 1)
	o.Status.FirstReadyTime = nil
	seen := metav1.NewTime(prepulltest.Noon)
	o.Status.FirstSeenTime = &seen
	pulling, ready := summary{desired: 2, ready: 1, pulling: true}, summary{desired: 2, ready: 2}
	var got []time.Duration
	for i, s := range []summary{pulling, ready, ready, pulling, ready} {
		next := s.status(&o, prepulltest.Noon.Add(time.Duration(i+1)*time.Minute))
		got = append(got, warmedIn(&o, next))
		o.Status.FirstReadyTime = next.FirstReadyTime
	}
	if diff := cmp.Diff([]time.Duration{0, 2 * time.Minute, 0, 0, 0}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
