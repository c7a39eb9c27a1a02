package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ofKubernetes are the messages of others that the page names, and where they come from.
var ofKubernetes = map[string]string{
	"x509: certificate signed by unknown authority":     "crypto/x509/verify.go of Go",
	"x509: certificate has expired or is not yet valid": "crypto/x509/verify.go of Go",
	"context deadline exceeded":                         "context/context.go of Go",
	"no route to host":                                  "EHOSTUNREACH of Linux",
	"no endpoints available":                            "staging/src/k8s.io/apiserver/pkg/util/proxy/proxy.go",
	"connection refused":                                "ECONNREFUSED of Linux",
	"is invalid":                                        "staging/src/k8s.io/apimachinery/pkg/api/errors/errors.go",
	"FailedCreate":                                      "pkg/controller/controller_utils.go",
}

// notMessages begin what is quoted and no message: commands, metrics, labels and fields.
var notMessages = regexp.MustCompile(`^(kubectl|kube_prepull_|kube-prepull\.io/)`)

var quotedWords = regexp.MustCompile("`([^`]+)`")

// messagesOf a page are what the first columns of its tables quote, and the words of the table of those that were denied.
func messagesOf(page string) []string {
	var messages []string
	denied := false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "#") {
			denied = strings.HasPrefix(line, "### Access denied")
		}
		column, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(column, "---") || slices.Contains([]string{"words", "symptom", "question"}, column) {
			continue
		}
		if denied {
			for words := range strings.SplitSeq(column, "; ") {
				messages = append(messages, strings.TrimSpace(strings.TrimSuffix(words, "…")))
			}
			continue
		}
		for _, match := range quotedWords.FindAllStringSubmatch(column, -1) {
			if words := strings.TrimSpace(strings.TrimSuffix(match[1], "…")); !notMessages.MatchString(words) {
				messages = append(messages, words)
			}
		}
	}
	return messages
}

// TestEveryMessageOfTroubleshootingIsMet: somebody searches the page for what is on the screen, so each message that it names is, by
// its exact words, what a test expects of the code, or what the plugin says.
func TestEveryMessageOfTroubleshootingIsMet(t *testing.T) {
	t.Parallel()
	expected := slices.Concat(literalsOfTests(t), slices.Collect(maps.Keys(wordsOfTheCode(t))), sentencesOfTheCode(t))
	messages := messagesOf(read(t, "troubleshooting.md"))
	if len(messages) < 50 {
		t.Errorf("%d messages were found: the page has more", len(messages))
	}
	for _, words := range messages {
		if ofKubernetes[words] == "" && !slices.ContainsFunc(expected, func(s string) bool { return strings.Contains(s, words) }) {
			t.Errorf("no test expects %q", words)
		}
	}
	for words := range ofKubernetes {
		if !slices.Contains(messages, words) {
			t.Errorf("the page does not name %q", words)
		}
	}
}

// literalsOfTests are the strings in the tests of the project but those of its pages.
func literalsOfTests(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, file := range files(t) {
		if !strings.HasSuffix(file, "_test.go") || filepath.Base(filepath.Dir(file)) == "docs" {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					found = append(found, text)
				}
			}
			return true
		})
	}
	return found
}
