package warmth

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestFailureOf(t *testing.T) {
	t.Parallel()
	const resolve = `rpc error: code = NotFound desc = failed to pull and unpack image "r.test/a:1": failed to resolve reference "r.test/a:1": r.test/a:1: not found`
	const plain = `failed to pull and unpack image "r.test/a:1": failed to resolve reference "r.test/a:1": r.test/a:1: not found`
	for name, tc := range map[string]struct {
		reason, message string
		want            Cause
		words           string
		settled         bool
	}{
		"an image that does not exist counts at once": {
			"ErrImagePull", resolve, CauseNotFound, plain, true,
		},
		"the words behind a back-off are kept": {
			"ImagePullBackOff", `Back-off pulling image "r.test/a:1": ErrImagePull: ` + resolve, CauseNotFound, plain, true,
		},
		"a registry that is not there counts after the back-off": {
			"ErrImagePull", `failed to do request: Head "https://r.test/v2/": dial tcp 10.0.0.1:443: connect: connection refused`, CauseUnreachable, "failed to do request", false,
		},
		"and then it counts": {
			"ImagePullBackOff", `Back-off pulling image "a": ErrImagePull: dial tcp: lookup r.test: no such host`, CauseUnreachable, "dial tcp: lookup r.test: no such host", true,
		},
		"a back-off without words says its reason": {
			"ImagePullBackOff", `Back-off pulling image "a"`, CauseOther, "ImagePullBackOff", true,
		},
		"no credentials": {
			"ErrImagePull", `failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized`, CauseDenied, "failed to authorize", true,
		},
		"an answer that leaves open which it is": {
			"ErrImagePull", `pull access denied, repository does not exist or may require authorization: server message: insufficient_scope`, CauseDenied, "pull access denied", true,
		},
		"a missing platform is not a missing image": {
			"ErrImagePull", `no match for platform in manifest: not found`, causePlatform, "no match", true,
		},
		"a rate limit is not a refusal": {
			"ErrImagePull", `429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit`, CauseRateLimit, "429", false,
		},
		"the kubelet's own rate limit": {"ErrImagePull", "pull QPS exceeded", CauseRateLimit, "pull QPS", false},
		"the name of an image says nothing": {
			"ErrImagePull", `failed to resolve reference "r.test/timeout:denied": r.test/timeout:denied: not found`, CauseNotFound, "failed to resolve", true,
		},
		"a full disk":               {"ErrImagePull", "write /var/lib/containerd/x: no space left on device", causeDisk, "write", false},
		"the runtime's own reason":  {"RegistryUnavailable", "registry is unavailable: EOF", CauseUnreachable, "registry", false},
		"a string that is no image": {"InvalidImageName", `Failed to apply default image tag "A": couldn't parse`, causeInvalid, "Failed", true},
		"a signature":               {"SignatureValidationFailed", "signed by nobody", causeSignature, "signed", true},
		"words that nobody knows":   {"ErrImagePull", "something odd", CauseOther, "something odd", false},
		"a container that cannot be made": {
			"CreateContainerError", "failed to generate spec", causeStart, "failed to generate spec", true,
		},
		"a program for another machine": {
			"RunContainerError", `exec: "/prepull-0123456789abcdef0123456789abcdef/noop": exec format error`, causePlatform, `exec: "/prepull/noop"`, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepulltest.Waits("a", tc.reason, tc.message)
			f, failed := failureOf(&s)
			if !failed {
				t.Fatal("no failure")
			}
			if f.Cause != tc.want || f.Settled != tc.settled || !strings.HasPrefix(f.Message, tc.words) {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestFailureOfAContainerThatEnded(t *testing.T) {
	t.Parallel()
	crashed := prepulltest.Waits("a", "CrashLoopBackOff", "back-off 10s restarting failed container")
	crashed.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: "exec: no such file"}
	ended := corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137}}}
	for name, tc := range map[string]struct {
		status corev1.ContainerStatus
		want   string
	}{
		"the last end says more than the back-off": {crashed, "exec: no such file"},
		"a silent end says its exit code":          {ended, "the container ended with exit code 137"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, failed := failureOf(&tc.status)
			if !failed || f.Cause != causeStart || !f.Settled || f.Message != tc.want {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestNoFailure(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]corev1.ContainerStatus{
		"a pull":                      prepulltest.Waits("a", "PodInitializing", ""),
		"a container that starts":     prepulltest.Waits("a", "ContainerCreating", ""),
		"a container that runs":       {State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		"a container that ended well": prepulltest.Done("a", 1, 2),
		"nothing known":               {},
	} {
		if f, failed := failureOf(&s); failed {
			t.Errorf("%s is taken for %+v", name, f)
		}
	}
}

func TestEveryCauseIsAReasonOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range Causes {
		if seen[c.Reason] || c.Words == "" {
			t.Errorf("%+v", c)
		}
		seen[c.Reason] = true
	}
	for _, spoken := range spokenCauses {
		for _, words := range spoken.words {
			if words != strings.ToLower(words) {
				t.Errorf("%q can never match", words)
			}
		}
	}
}

func FuzzPlainMessage(f *testing.F) {
	f.Add(`Back-off pulling image "a": ErrImagePull: rpc error: code = Unknown desc = x`, "r")
	f.Add(strings.Repeat("ü", 600), "")
	f.Add("\xff\xfe", "r")
	f.Fuzz(func(t *testing.T, message, reason string) {
		got := PlainMessage(message, reason)
		if len(got) > max(maxMessageLength, len(reason)) {
			t.Errorf("%d bytes", len(got))
		}
		if utf8.ValidString(message) && utf8.ValidString(reason) && !utf8.ValidString(got) {
			t.Errorf("a character was cut in two: %q", got)
		}
	})
}

func TestCounts(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		failure Failure
		after   time.Duration
		want    bool
		from    time.Duration
	}{
		"not settled":                   {Failure{Cause: CauseUnreachable}, time.Hour, false, -1},
		"permanent":                     {Failure{Cause: CauseNotFound, Settled: true}, 0, true, time.Minute},
		"trouble for a moment":          {Failure{Cause: CauseUnreachable, Settled: true}, 59 * time.Second, false, time.Minute},
		"trouble for a minute":          {Failure{Cause: CauseUnreachable, Settled: true}, time.Minute, true, time.Minute},
		"a registry that asks for rest": {Failure{Cause: CauseRateLimit, Settled: true}, time.Hour, false, -1},
	} {
		f := tc.failure
		f.Began = began
		if got := f.Counts(began.Add(tc.after)); got != tc.want {
			t.Errorf("%s: counts %v", name, got)
		}
		want := began.Add(tc.from)
		if tc.from < 0 {
			want = time.Time{}
		}
		if got := f.CountsFrom(); !got.Equal(want) {
			t.Errorf("%s: counts from %v, want %v", name, got, want)
		}
	}
}
