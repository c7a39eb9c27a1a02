package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	call     = regexp.MustCompile(`kubectl prepull ([a-z](?:'[^']*'|[^'|#>;)])*)`)
	quoted   = regexp.MustCompile(`'[^']*'`)
)

// TestTheCommandsOfTheDocsExist, with their flags.
func TestTheCommandsOfTheDocsExist(t *testing.T) {
	t.Parallel()
	found := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/guides/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, arguments := range callsIn(string(text)) {
				found++
				checkCall(t, file, arguments)
			}
		}
	}
	if found < 40 {
		t.Errorf("%d commands were found: the pages have more", found)
	}
}

// callsIn a page are the arguments of the plugin in its code, indented or not.
func callsIn(page string) [][]string {
	var found [][]string
	for line := range strings.Lines(page) {
		var codes []string
		if strings.HasPrefix(line, "    ") {
			codes = []string{line}
		} else {
			for _, match := range codeSpan.FindAllStringSubmatch(line, -1) {
				codes = append(codes, match[1])
			}
		}
		for _, code := range codes {
			for _, match := range call.FindAllStringSubmatch(code, -1) {
				found = append(found, strings.Fields(quoted.ReplaceAllString(match[1], "quoted")))
			}
		}
	}
	return found
}

func checkCall(t *testing.T, file string, arguments []string) {
	t.Helper()
	env := cli.NewEnvironment(genericiooptions.IOStreams{})
	command, rest, err := newCommand(env).Find(arguments)
	if err == nil && (!command.HasParent() || command.HasSubCommands() && len(rest) > 0) {
		t.Errorf("%s: kubectl prepull %s: there is no such command", file, strings.Join(arguments, " "))
		return
	}
	if err == nil {
		err = command.ParseFlags(rest)
	}
	if err != nil {
		t.Errorf("%s: kubectl prepull %s: %v", file, strings.Join(arguments, " "), err)
	}
}
