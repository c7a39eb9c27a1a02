package prepull

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
)

// maxMessageLength bounds the words of a registry that are kept, in bytes.
const maxMessageLength = 512

// cause is why an image cannot be pulled or started. It is the reason of the condition PullFailed, and words is the
// same for people.
type cause struct {
	reason string
	words  string

	// final is set if trying again soon, or from another node of the class, gives the same answer.
	final bool
}

// The causes that are told apart.
var (
	causeNotFound    = cause{"NotFound", "not found", true}
	causeDenied      = cause{"Denied", "access denied", true}
	causePlatform    = cause{"NoMatchingPlatform", "not built for these nodes", true}
	causeInvalid     = cause{"InvalidImage", "invalid image", true}
	causeSignature   = cause{"SignatureRejected", "signature rejected", true}
	causeRateLimit   = cause{"RateLimited", "rate limit reached", false}
	causeDisk        = cause{"DiskFull", "disk full", false}
	causeUnreachable = cause{"RegistryUnreachable", "registry unreachable", false}
	causeDeadline    = cause{"DeadlineExceeded", "no answer in time", false}
	causeStart       = cause{"CannotStart", "cannot start a container", false}
	causeOther       = cause{"Other", "see the condition PullFailed", false}

	causes = []cause{
		causeNotFound, causeDenied, causePlatform, causeInvalid, causeSignature, causeRateLimit, causeDisk,
		causeUnreachable, causeDeadline, causeStart, causeOther,
	}
)

// spokenCauses find a cause in the words of a registry or a runtime, in lower case. The first match wins: a message about
// a missing platform ends in "not found", and one about a rate limit may speak of authorization.
var spokenCauses = []struct {
	cause cause
	words []string
}{
	{causeRateLimit, []string{"toomanyrequests", "too many requests", "rate limit", "pull qps exceeded"}},
	{causePlatform, []string{"no match for platform", "no matching manifest", "exec format error"}},
	{causeDisk, []string{"no space left on device", "disk quota exceeded"}},
	{causeUnreachable, []string{
		"no such host", "connection refused", "connection reset", "timeout", "deadline exceeded", "no route to host",
		"network is unreachable", "server misbehaving", "x509:", "tls:", "eof",
		"internal server error", "bad gateway", "service unavailable",
	}},
	{causeDenied, []string{"unauthorized", "denied", "forbidden", "authentication required", "no basic auth credentials", "insufficient_scope"}},
	{causeInvalid, []string{"invalid reference format", "could not parse reference"}},
	{causeNotFound, []string{"not found", "manifest unknown", "name unknown", "does not exist"}},
}

// failure is what stands in the way of an image on one node.
type failure struct {
	cause

	// message is what the registry, the runtime or the kubelet said.
	message string

	// settled is set once the failure is worth acting on: a final one at once, another one after the kubelet has tried
	// and backs off, or tried twice.
	settled bool

	// since is when the pod was created that ran into it, and began is when it came to the image.
	since, began time.Time
}

// failureOf reads the failure of a container from the state in which the kubelet reports it; false if it has none. While
// an image is pulled the kubelet says PodInitializing, and nothing about the pull.
func failureOf(s *corev1.ContainerStatus) (failure, bool) {
	if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
		return failure{cause: startCause(t.Message), message: startMessage(t.Message, t.Reason, t.ExitCode), settled: true}, true
	}
	w := s.State.Waiting
	if w == nil {
		return failure{}, false
	}
	message := plainMessage(w.Message, w.Reason)
	switch w.Reason {
	case "ErrImagePull", "RegistryUnavailable", "ImageInspectError":
		c := spokenCause(message)
		return failure{cause: c, message: message, settled: c.final}, true
	case "ImagePullBackOff":
		return failure{cause: spokenCause(message), message: message, settled: true}, true
	case "InvalidImageName":
		return failure{cause: causeInvalid, message: message, settled: true}, true
	case "SignatureValidationFailed":
		return failure{cause: causeSignature, message: message, settled: true}, true
	case "CrashLoopBackOff":
		if t := s.LastTerminationState.Terminated; t != nil {
			message = startMessage(t.Message, t.Reason, t.ExitCode)
		}
		return failure{cause: startCause(message), message: message, settled: true}, true
	case "ErrImageNeverPull", "CreateContainerError", "CreateContainerConfigError", "RunContainerError",
		"PreCreateHookError", "PreStartHookError", "PostStartHookError":
		return failure{cause: startCause(message), message: message, settled: true}, true
	}
	return failure{}, false
}

// spokenCause reads only what is not a name: an image may be called timeout-service.
func spokenCause(message string) cause {
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
	return causeOther
}

// startCause of a container that was pulled and does not run: the platform, or something in the runtime.
func startCause(message string) cause {
	if c := spokenCause(message); c == causePlatform {
		return c
	}
	return causeStart
}

func startMessage(message, reason string, code int32) string {
	if message == "" {
		message = fmt.Sprintf("the container ended with exit code %d", code)
	}
	return plainMessage(message, reason)
}

// wrapping is what the kubelet puts before the words of a registry.
var wrapping = regexp.MustCompile(`^(Failed to pull image "[^"]*": |Back-off pulling image "[^"]*"(: |$)|ErrImagePull: |rpc error: code = \w+ desc = )+`)

// plainMessage is a message without the kubelet's wrapping and without tokens, of bounded length, or the reason if nothing
// is left.
func plainMessage(message, reason string) string {
	message = strings.TrimSpace(withoutTokens(wrapping.ReplaceAllString(message, "")))
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
