package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// privateObject is a learned image with a pull secret.
func secretNamed(namespace, name string) v1alpha1.SecretReference {
	return v1alpha1.SecretReference{Namespace: namespace, Name: name}
}

func privateObject(image string, starts int, secrets ...v1alpha1.SecretReference) v1alpha1.PrepullImage {
	o := prepulltest.Learned(image, starts)
	o.Status.PullSecrets = secrets
	return o
}

// copiedAs are pulls in which the pull secret shop/login is copied for a:1.
func copiedAs(name string, changed time.Time) Pulls {
	return Pulls{
		Copies:  map[v1alpha1.SecretReference]string{secretNamed("shop", "login"): name},
		Changed: map[string]time.Time{name: changed},
		Keys:    map[Key]string{hubKey(secretNamed("shop", "login"), "a"): ""},
	}
}

// hubKey is a key for a short image name.
func hubKey(secret v1alpha1.SecretReference, image string) Key {
	return Key{secret, "docker.io/library/" + image}
}

func denies(_, _ string) string {
	return "failed to pull and unpack image: unexpected status from HEAD request: 401 Unauthorized"
}

func (s *State) denial(t *testing.T, image string) string {
	t.Helper()
	status := s.status(workload.ObjectName(image))
	failed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionPullFailed)
	if failed == nil || failed.Reason != "Denied" {
		t.Fatalf("the image is not denied: %+v", failed)
	}
	return failed.Message
}

func TestAnImageWaitsForItsPullSecret(t *testing.T) {
	t.Parallel()
	login, other := secretNamed("shop", "login"), secretNamed("shop", "other")
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{privateObject("a:1", 9, login), prepulltest.Learned("b:1", 1)}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if diff := cmp.Diff([]string{"b:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if got := s.status(workload.ObjectName("a:1")).State; got != "Pending" {
		t.Errorf("an image that waits for its pull secret is %s", got)
	}
	s.Pulls = copiedAs(v1alpha1.CopyPrefix+"2", prepulltest.Noon)
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if got := s.listOf("linux-amd64"); len(got) != 2 {
		t.Errorf("list %v", got)
	}
	secrets := func() []corev1.LocalObjectReference {
		return s.DaemonSet("kube-prepull-linux-amd64").Spec.Template.Spec.ImagePullSecrets
	}
	if diff := cmp.Diff([]corev1.LocalObjectReference{{Name: v1alpha1.CopyPrefix + "2"}}, secrets()); diff != "" {
		t.Errorf("pull secrets (-want +got):\n%s", diff)
	}

	// One more that is on its way does not take it off the nodes.
	s.Images[0].Status.PullSecrets = []v1alpha1.SecretReference{login, other}
	if p := Make(s, testOptions, prepulltest.Noon); len(p.Roll)+len(p.DeleteEmpty) > 0 {
		t.Errorf("plan %+v", p.Roll)
	}
	s.Pulls.Copies[other] = v1alpha1.CopyPrefix + "1"
	if p := Make(s, testOptions, prepulltest.Noon); len(p.Roll)+len(p.UpdateInPlace) > 0 {
		t.Errorf("a copy without the key is used: %+v", p.UpdateInPlace)
	}
	s.Pulls.Keys[hubKey(other, "a")] = ""
	if p := Make(s, testOptions, prepulltest.Noon); len(p.Roll) > 0 || len(p.UpdateInPlace) != 1 {
		t.Errorf("another pull secret rolls pods: %+v", p.Roll)
	}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if diff := cmp.Diff([]corev1.LocalObjectReference{{Name: v1alpha1.CopyPrefix + "1"}, {Name: v1alpha1.CopyPrefix + "2"}}, secrets()); diff != "" {
		t.Errorf("pull secrets (-want +got):\n%s", diff)
	}

	// What is not in the list needs no pull secret.
	s.Images[0].Status.PullSecrets = nil
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if got := secrets(); got != nil {
		t.Errorf("pull secrets %v", got)
	}
}

func TestAnImageDoesNotWaitForWhatCannotBeHad(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]Pulls{
		"no login":     {Keys: map[Key]string{hubKey(secretNamed("shop", "login"), "a"): "holds no login for docker.io"}},
		"missing":      {Problems: map[v1alpha1.SecretReference]string{secretNamed("shop", "login"): "does not exist"}},
		"switched off": {Off: true},
	} {
		s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{privateObject("a:1", 1, secretNamed("shop", "login"))}, Pulls: known}
		s.carryOut(Make(s, testOptions, prepulltest.Noon))
		if got := s.listOf("linux-amd64"); len(got) != 1 {
			t.Errorf("%s: list %v", name, got)
		}
	}
}

func TestADeniedPullSaysWhatToDo(t *testing.T) {
	t.Parallel()
	login := secretNamed("shop", "login")
	const words = "Node node-000: failed to pull and unpack image: unexpected status from HEAD request: 401 Unauthorized"
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{privateObject("a:1", 1)}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, denies)
	for _, step := range []struct {
		secrets []v1alpha1.SecretReference
		pulls   Pulls
		want    string
	}{
		{nil, Pulls{}, "; no pull secret is known for it"},
		{[]v1alpha1.SecretReference{login}, Pulls{Problems: map[v1alpha1.SecretReference]string{login: "does not exist"}}, "; the Secret shop/login does not exist"},
		{[]v1alpha1.SecretReference{login}, copiedAs("copy", prepulltest.Noon.Add(-time.Hour)), "; it is pulled with shop/login"},
		{[]v1alpha1.SecretReference{login}, Pulls{Off: true}, "; pull secrets are switched off (pullSecrets: false)"},
	} {
		s.Images[0].Status.PullSecrets, s.Pulls = step.secrets, step.pulls
		s.carryOut(Make(s, testOptions, prepulltest.Noon))
		if got := s.denial(t, "a:1"); got != words+step.want {
			t.Errorf("the message is %q", got)
		}
		if p := Make(s, testOptions, prepulltest.Noon); len(p.Statuses) > 0 {
			t.Errorf("the message does not stay: %+v", p.Statuses)
		}
	}

	// The advice changes also when no pod tells of the failure any more.
	s.Pods, s.Pulls = nil, Pulls{}
	s.Images[0].Status.PullSecrets = nil
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if got := s.denial(t, "a:1"); got != words+"; no pull secret is known for it" {
		t.Errorf("the message is %q", got)
	}
}

func TestTheWordsOfARegistryAreNotTakenForAdvice(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"denied":                                "denied; new",
		"denied; try again":                     "denied; try again; new",
		"denied; the Secret a/b does not exist": "denied; new",
		"denied; no; " + adviceNone:             "denied; no; new",
	} {
		if got := withAdvice(message, "new"); got != want {
			t.Errorf("%q becomes %q, want %q", message, got, want)
		}
	}
	if got := withAdvice("denied; "+adviceNone, ""); got != "denied" {
		t.Errorf("without advice it is %q", got)
	}
}

func TestADeniedImageIsTriedAgainOnceWhenItsPullSecretChanges(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{privateObject("a:1", 9, secretNamed("shop", "login")), prepulltest.Learned("b:1", 1)}}
	s.Pulls = copiedAs("copy", prepulltest.Noon.Add(-time.Hour))
	now := prepulltest.Noon
	pass := func() Plan {
		p := Make(s, testOptions, now)
		s.carryOut(p)
		if again := Make(s, testOptions, now); len(again.Roll)+len(again.DeleteEmpty)+len(again.Statuses) > 0 {
			t.Fatalf("the plan is not done when it is done: %+v", again)
		}
		return p
	}
	tried := func() bool { return len(s.listOf("linux-amd64")) == 2 }
	private := func(node, image string) string {
		if image == "a:1" {
			return denies(node, image)
		}
		return ""
	}
	pass()
	s.runPods(now, private)
	pass()
	s.runPods(now, private)
	pass()
	if tried() {
		t.Fatal("a denied image stays")
	}

	// The password is right a minute later.
	now = prepulltest.Noon.Add(time.Minute)
	s.Pulls = copiedAs("copy", now)
	pass()
	if !tried() {
		t.Fatal("the image is not tried with its new pull secret")
	}
	// It is not.
	s.runPods(now.Add(time.Second), private)
	now = now.Add(2 * time.Second)
	pass()
	if got := s.status(workload.ObjectName("a:1")).Retries; tried() || len(got) != 1 || got[0].Failures != 2 {
		t.Fatalf("retries %+v", got)
	}
	s.runPods(now, nothingFails)
	now = now.Add(5 * time.Minute)
	pass()
	if tried() {
		t.Error("it is tried twice for one change")
	}
	// Now it is.
	now = now.Add(time.Second)
	s.Pulls = copiedAs("copy", now)
	pass()
	if !tried() {
		t.Error("the image is not tried with its next pull secret")
	}
	s.runPods(now.Add(time.Second), nothingFails)
	pass()
	if got := s.status(workload.ObjectName("a:1")); got.State != "Ready" || got.Retries != nil {
		t.Errorf("status %+v", got)
	}
}

func TestOnlyImagesWithAPlaceNeedKeys(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 1
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{
		privateObject("a:1", 9, secretNamed("shop", "login")), privateObject("b:1", 1, secretNamed("web", "login")),
	}}
	needed := func() map[Key]Use { return NeededKeys(Make(s, o, prepulltest.Noon).Classes) }
	if diff := cmp.Diff(map[Key]Use{hubKey(secretNamed("shop", "login"), "a"): UseLogin}, needed()); diff != "" {
		t.Errorf("needed (-want +got):\n%s", diff)
	}

	// What failed needs none until it is tried again, unless another login may help.
	fails := func(reason string) {
		s.Images[0].Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 1, Time: metav1.NewTime(prepulltest.Noon.Add(firstBackOff))}}
		s.Images[0].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionPullFailed, Status: metav1.ConditionTrue, Reason: reason}}
	}
	b := hubKey(secretNamed("web", "login"), "b")
	fails(warmth.CauseNotFound.Reason)
	if diff := cmp.Diff(map[Key]Use{b: UseLogin}, needed()); diff != "" {
		t.Errorf("needed while an image is not found (-want +got):\n%s", diff)
	}
	fails(warmth.CauseDenied.Reason)
	if diff := cmp.Diff(map[Key]Use{b: UseLogin, hubKey(secretNamed("shop", "login"), "a"): UseDenied}, needed()); diff != "" {
		t.Errorf("needed while an image is denied (-want +got):\n%s", diff)
	}
	s.Images[0].Status.Retries[0].Time, o.MaxImagesPerNode = metav1.NewTime(prepulltest.Noon), 2
	fails(warmth.CauseNotFound.Reason)
	s.Images[0].Status.Retries[0].Time = metav1.NewTime(prepulltest.Noon)
	if diff := cmp.Diff(map[Key]Use{b: UseLogin, hubKey(secretNamed("shop", "login"), "a"): UseLogin}, needed()); diff != "" {
		t.Errorf("needed once it is due (-want +got):\n%s", diff)
	}
}

// A kubelet takes the key of r.test/shop/app for r.test/shop/app2 too.
func TestAnImageIsGuardedFromTheKeysOfOthers(t *testing.T) {
	t.Parallel()
	shop, web := secretNamed("shop", "login"), secretNamed("web", "login")
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{
		privateObject("r.test/shop/app:1", 9, shop), prepulltest.Learned("r.test/shop/app2:1", 1), privateObject("r.test/shop/app/job:1", 1, shop, web),
		prepulltest.Learned("r.test/shop/ap:1", 1), prepulltest.Learned("s.test/shop/app2:1", 1),
	}}
	const app, app2, job = "r.test/shop/app", "r.test/shop/app2", "r.test/shop/app/job"
	want := map[Key]Use{{shop, app}: UseLogin, {shop, job}: UseLogin, {web, job}: UseLogin, {shop, app2}: UseGuard}
	if diff := cmp.Diff(want, NeededKeys(Make(s, testOptions, prepulltest.Noon).Classes)); diff != "" {
		t.Errorf("needed (-want +got):\n%s", diff)
	}

	// It waits for its guard only where there is something to guard it from.
	for name, tc := range map[string]struct {
		keys map[Key]string
		want bool
	}{
		"a key without a guard": {map[Key]string{{shop, app}: ""}, false},
		"with one":              {map[Key]string{{shop, app}: "", {shop, app2}: ""}, true},
		"no key":                {map[Key]string{{shop, app}: "holds no login for r.test"}, true},
		"another's key":         {map[Key]string{{web, job}: ""}, true},
	} {
		s.Pulls = Pulls{Keys: tc.keys}
		p := Make(s, testOptions, prepulltest.Noon)
		listed := false
		for _, l := range p.Classes[0].List {
			listed = listed || l.image == app2+":1"
		}
		if listed != tc.want {
			t.Errorf("%s: listed is %t, want %t", name, listed, tc.want)
		}
	}
}

func TestWhatIsSaidOfSeveralPullSecrets(t *testing.T) {
	t.Parallel()
	shop, web := secretNamed("shop", "login"), secretNamed("web", "login")
	const app, none = "r.test/app", "holds no login for r.test"
	copies := map[v1alpha1.SecretReference]string{shop: v1alpha1.CopyPrefix + "1", web: v1alpha1.CopyPrefix + "2"}
	c := &Candidate{canonical: app + ":1", PullSecrets: []v1alpha1.SecretReference{shop, web}}
	for name, tc := range map[string]struct {
		pulls   Pulls
		copies  int
		awaited bool
		advice  string
	}{
		"both":             {Pulls{Copies: copies, Keys: map[Key]string{{shop, app}: "", {web, app}: ""}}, 2, false, "it is pulled with shop/login, web/login"},
		"one has no login": {Pulls{Copies: copies, Keys: map[Key]string{{shop, app}: none, {web, app}: ""}}, 1, false, "it is pulled with web/login"},
		"none has":         {Pulls{Copies: copies, Keys: map[Key]string{{shop, app}: none, {web, app}: none}}, 0, false, "the Secret shop/login " + none},
		"one is missing":   {Pulls{Copies: copies, Keys: map[Key]string{{shop, app}: ""}, Problems: map[v1alpha1.SecretReference]string{web: "does not exist"}}, 1, false, "the Secret web/login does not exist"},
		"one is on its way, and the other has a copy for another image": {Pulls{Copies: copies, Keys: map[Key]string{{shop, app}: none}}, 0, true, "it is pulled with web/login"},
	} {
		got := tc.pulls.Access(c)
		if len(got.copies) != tc.copies || got.Awaited != tc.awaited || got.advice != tc.advice {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What is denied and copied within the same second was denied the former credentials.
func TestAnImageThatIsDeniedInTheSecondOfTheChangeIsTriedAgain(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[int]int{-1: 1, 0: 2, 1: 2} {
		s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{privateObject("a:1", 9, secretNamed("shop", "login")), prepulltest.Learned("b:1", 1)}}
		s.Images[0].Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 1, Time: metav1.NewTime(prepulltest.Noon.Add(firstBackOff))}}
		s.Images[0].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionPullFailed, Status: metav1.ConditionTrue, Reason: warmth.CauseDenied.Reason}}
		s.Pulls = copiedAs("copy", prepulltest.Noon.Add(time.Duration(seconds)*time.Second))
		s.carryOut(Make(s, testOptions, prepulltest.Noon.Add(10*time.Second)))
		if got := s.listOf("linux-amd64"); len(got) != want {
			t.Errorf("a change %d seconds after it was denied: %v are listed, want %d", seconds, got, want)
		}
	}
}
