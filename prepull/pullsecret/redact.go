package pullsecret

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A registry may quote what it was shown, and a runtime a link that is good for whoever has it. More people read the status
// of an image than may read pull secrets, so such words are hidden in it: those that are known, and those that look so.

const hidden = "***"

// minSecret is the length, in bytes, of the shortest known word that is hidden. Shorter ones are in any sentence.
const minSecret = 6

var (
	// urlUser and urlQuery are the parts of a URL that may open what it points to.
	urlUser  = regexp.MustCompile(`(https?://)[^/\s"@]+@`)
	urlQuery = regexp.MustCompile(`(https?://[^\s"?]+\?)[^\s"]+`)

	// longWord may be a token, a signature or a login in base64.
	longWord = regexp.MustCompile(`[A-Za-z0-9+/_=~.-]{20,}`)
)

// RedactTokens hides what looks as if it opened something. Names of hosts and repositories, and digests, have no capital
// letters.
func RedactTokens(message string) string {
	message = urlUser.ReplaceAllString(message, "${1}"+hidden+"@")
	message = urlQuery.ReplaceAllString(message, "${1}"+hidden)
	return longWord.ReplaceAllStringFunc(message, func(word string) string {
		if strings.ContainsAny(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && strings.ContainsAny(word, "0123456789") {
			return hidden
		}
		return word
	})
}

// Words are what a kubelet sends to registries of the credentials in a pull secret, in the forms in which it may be
// quoted. content is as Parse returns it.
func Words(content []byte) []string {
	var words []string
	for _, e := range Read(content).Auths {
		l, readable := e.login()
		if !readable {
			l = Login{e.Username, e.Password}
		}
		if l.Password == "" {
			continue
		}
		for _, word := range []string{l.Password, l.Username + ":" + l.Password} {
			words = append(words, word, url.QueryEscape(word), url.PathEscape(word))
			words = append(words, base64.RawStdEncoding.EncodeToString([]byte(word)), base64.RawURLEncoding.EncodeToString([]byte(word)))
		}
	}
	words = slices.DeleteFunc(words, func(word string) bool { return len(word) < minSecret })
	slices.Sort(words)
	return slices.Compact(words)
}

// Redactor replaces words, the longest first.
func Redactor(words []string) *strings.Replacer {
	words = slices.SortedFunc(slices.Values(words), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, word := range words {
		pairs = append(pairs, word, hidden)
	}
	return strings.NewReplacer(pairs...)
}

// RedactPod is a pod whose kubelet quotes none of some words. The pod itself is not changed.
func RedactPod(pod *corev1.Pod, words *strings.Replacer) *corev1.Pod {
	first, quotesFirst := redactStatuses(pod.Status.InitContainerStatuses, words)
	then, quotesThen := redactStatuses(pod.Status.ContainerStatuses, words)
	if !quotesFirst && !quotesThen {
		return pod
	}
	next := *pod
	next.Status.InitContainerStatuses, next.Status.ContainerStatuses = first, then
	return &next
}

// redactStatuses are statuses that quote none of some words, and whether they are others.
func redactStatuses(statuses []corev1.ContainerStatus, words *strings.Replacer) (redacted []corev1.ContainerStatus, quotes bool) {
	redacted = statuses
	for i := range statuses {
		s := statuses[i].DeepCopy()
		said := false
		for _, message := range messagesOf(s) {
			plain := words.Replace(*message)
			said = said || plain != *message
			*message = plain
		}
		if !said {
			continue
		}
		if !quotes {
			redacted, quotes = slices.Clone(statuses), true
		}
		redacted[i] = *s
	}
	return redacted, quotes
}

// HasMessages tells whether a kubelet says anything about the containers of a pod that may quote somebody.
func HasMessages(pod *corev1.Pod) bool {
	says := func(s corev1.ContainerStatus) bool { return len(messagesOf(&s)) > 0 }
	return slices.ContainsFunc(pod.Status.InitContainerStatuses, says) || slices.ContainsFunc(pod.Status.ContainerStatuses, says)
}

// messagesOf a container are what a runtime or a registry said.
func messagesOf(s *corev1.ContainerStatus) []*string {
	var messages []*string
	for _, state := range []*corev1.ContainerState{&s.State, &s.LastTerminationState} {
		if state.Waiting != nil && state.Waiting.Message != "" {
			messages = append(messages, &state.Waiting.Message)
		}
		if state.Terminated != nil && state.Terminated.Message != "" {
			messages = append(messages, &state.Terminated.Message)
		}
	}
	return messages
}
