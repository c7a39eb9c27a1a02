package warmth

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// maxMessageLength bounds the words of a registry that are kept, in bytes.
const maxMessageLength = 512

// Cause is why an image cannot be pulled or started. It is the reason of the condition PullFailed, and words is the
// same for people.
type Cause struct {
	Reason string
	Words  string

	// Permanent is set if trying again soon, or from another node of the class, gives the same answer.
	Permanent bool
}

// The causes that are told apart.
var (
	CauseNotFound    = Cause{"NotFound", "not found", true}
	CauseDenied      = Cause{"Denied", "access denied", true}
	causePlatform    = Cause{"NoMatchingPlatform", "not built for these nodes", true}
	causeInvalid     = Cause{"InvalidImage", "invalid image", true}
	causeSignature   = Cause{"SignatureRejected", "signature rejected", true}
	CauseRateLimit   = Cause{"RateLimited", "rate limit reached", false}
	causeDisk        = Cause{"DiskFull", "disk full", false}
	CauseUnreachable = Cause{"RegistryUnreachable", "registry unreachable", false}
	causeDeadline    = Cause{"DeadlineExceeded", "no answer in time", false}
	causeStart       = Cause{"CannotStart", "cannot start a container", false}
	CauseOther       = Cause{"Other", "see the condition PullFailed", false}

	Causes = []Cause{
		CauseNotFound, CauseDenied, causePlatform, causeInvalid, causeSignature, CauseRateLimit, causeDisk,
		CauseUnreachable, causeDeadline, causeStart, CauseOther,
	}
)

// spokenCauses find a cause in the words of a registry or a runtime, in lower case. The first match wins: a message about
// a missing platform ends in "not found", and one about a rate limit may speak of authorization.
var spokenCauses = []struct {
	cause Cause
	words []string
}{
	{CauseRateLimit, []string{"toomanyrequests", "too many requests", "rate limit", nodeLimit}},
	{causePlatform, []string{"no match for platform", "no matching manifest", "exec format error"}},
	{causeDisk, []string{"no space left on device", "disk quota exceeded"}},
	{CauseUnreachable, []string{
		"no such host", "connection refused", "connection reset", "timeout", "deadline exceeded", "no route to host",
		"network is unreachable", "server misbehaving", "x509:", "tls:", "eof",
		"internal server error", "bad gateway", "service unavailable",
	}},
	{CauseDenied, []string{"unauthorized", "denied", "forbidden", "authentication required", "no basic auth credentials", "insufficient_scope"}},
	{causeInvalid, []string{"invalid reference format", "could not parse reference"}},
	{CauseNotFound, []string{"not found", "manifest unknown", "name unknown", "does not exist"}},
}

// CauseOf is the one with a reason, CauseOther if there is none.
func CauseOf(reason string) Cause {
	if i := slices.IndexFunc(Causes, func(c Cause) bool { return c.Reason == reason }); i >= 0 {
		return Causes[i]
	}
	return CauseOther
}

// Failure is what stands in the way of an image on one node.
type Failure struct {
	Cause

	// Message is what the registry, the runtime or the kubelet said.
	Message string

	// Tries is how often the pull is known to have failed.
	Tries int32

	// Settled is set once the failure is worth acting on: a permanent one at once, another one after two tries, or while
	// the kubelet backs off and nothing tells how often it has tried. It is never set of a node's own limit of pulls.
	Settled bool

	// Alone is set if nothing waits behind the image: it is held and not brought, or the node goes on without it.
	Alone bool

	// Rolls is set if the node has its former list still: a roll waits for it.
	Rolls bool

	// Since is when the pod was created that ran into it, and began is when it came to the image.
	Since, Began time.Time
}

// TroubleTime is how long a node may have trouble with an image, other than a permanent answer, until that counts as failing:
// on a node that starts, the network may take a moment.
const TroubleTime = time.Minute

// patientTries is how often a pull fails until what waits for it goes first.
const patientTries = 3

// Counts tells whether a failure on one node is a reason not to wait for it.
func (f *Failure) Counts(now time.Time) bool {
	return f.mayCount() && (f.Permanent || !now.Before(f.CountsFrom()))
}

// CountsFrom is when a failure that is not permanent counts; zero if that cannot be told, or it never does.
func (f *Failure) CountsFrom() time.Time {
	if !f.mayCount() {
		return time.Time{}
	}
	return f.Began.Add(TroubleTime)
}

// mayCount is false of what is not settled, and of a registry that asks for rest: it gives the image later.
func (f *Failure) mayCount() bool { return f.Settled && !f.RateLimited() }

// RateLimited tells whether a registry asks for rest.
func (f *Failure) RateLimited() bool { return f.Reason == CauseRateLimit.Reason }

// Final tells whether trying again soon gives nothing. However often a pull fails that may pass, it is not.
func (f *Failure) Final() bool { return f.Settled && f.Permanent }

// Lasts tells whether a kubelet has tried so often that what waits for the pull is not to wait any more.
func (f *Failure) Lasts() bool { return f.Settled && (f.Permanent || f.Tries >= patientTries) }

// failureOf reads the failure of a container from the state in which the kubelet reports it; false if it has none. While
// an image is pulled the kubelet says PodInitializing, and nothing about the pull.
func failureOf(s *corev1.ContainerStatus) (Failure, bool) {
	if s == nil {
		return Failure{}, false
	}
	if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
		return Failure{Cause: startCause(t.Message), Message: startMessage(t.Message, t.Reason, t.ExitCode), Settled: true}, true
	}
	w := s.State.Waiting
	if w == nil {
		return Failure{}, false
	}
	message := PlainMessage(w.Message, w.Reason)
	switch w.Reason {
	case "ErrImagePull", "RegistryUnavailable", "ImageInspectError":
		c := SpokenCause(message)
		return Failure{Cause: c, Message: message, Settled: c.Permanent}, true
	case "ImagePullBackOff":
		c := SpokenCause(message)
		once := s.RestartCount == 1 && s.LastTerminationState.Terminated == nil // as events count (failedPull)
		return Failure{Cause: c, Message: message, Settled: c.Permanent || !once && !limitedByNode(message), Tries: s.RestartCount}, true
	case "InvalidImageName":
		return Failure{Cause: causeInvalid, Message: message, Settled: true}, true
	case "SignatureValidationFailed":
		return Failure{Cause: causeSignature, Message: message, Settled: true}, true
	case "CrashLoopBackOff":
		if t := s.LastTerminationState.Terminated; t != nil {
			message = startMessage(t.Message, t.Reason, t.ExitCode)
		}
		return Failure{Cause: startCause(message), Message: message, Settled: true}, true
	case "ErrImageNeverPull", "CreateContainerError", "CreateContainerConfigError", "RunContainerError",
		"PreCreateHookError", "PreStartHookError", "PostStartHookError":
		return Failure{Cause: startCause(message), Message: message, Settled: true}, true
	}
	return Failure{}, false
}

// limitedByNode tells whether a kubelet did not even ask: registryPullQPS of its configuration bounds the pulls that it begins
// (ErrRegistryUnavailable in pkg/kubelet/images/helpers.go). That says nothing about an image.
func limitedByNode(message string) bool { return strings.Contains(strings.ToLower(message), nodeLimit) }

// nodeLimit is what kubelets say of their own limit.
const nodeLimit = "pull qps exceeded"

// SpokenCause is what the words of a registry or a runtime say. It reads only what is not a name: an image may be called timeout-service.
func SpokenCause(message string) Cause {
	words := strings.Fields(strings.ToLower(message))
	words = slices.DeleteFunc(words, func(w string) bool { return strings.ContainsAny(w, `/"`) })
	message = strings.Join(words, " ")
	for _, c := range spokenCauses {
		for _, words := range c.words {
			if strings.Contains(message, words) {
				return c.cause
			}
		}
	}
	return CauseOther
}

// startCause of a container that was pulled and does not run: the platform, or something in the runtime.
func startCause(message string) Cause {
	if c := SpokenCause(message); c == causePlatform {
		return c
	}
	return causeStart
}

func startMessage(message, reason string, code int32) string {
	if message == "" {
		message = fmt.Sprintf("the container ended with exit code %d", code)
	}
	return PlainMessage(message, reason)
}

// wrapping is what the kubelet puts before the words of a registry.
var wrapping = regexp.MustCompile(`^(Failed to pull image "[^"]*": |Back-off pulling image "[^"]*"(: |$)|ErrImagePull: |rpc error: code = \w+ desc = )+`)

// PlainMessage is a message without the kubelet's wrapping, without tokens and without the folder of noop, of bounded length, or
// the reason if nothing is left.
func PlainMessage(message, reason string) string {
	message = strings.TrimSpace(workload.HideNoopFolder(pullsecret.RedactTokens(wrapping.ReplaceAllString(message, ""))))
	if message == "" {
		return reason
	}
	if len(message) <= maxMessageLength {
		return message
	}
	cut := maxMessageLength - len("…")
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + "…"
}
