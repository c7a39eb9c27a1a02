// Package release tests what makes a release: the workflow, its script and the lists of what binaries are made of.
package release

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

const workflowFile = "../../.github/workflows/release.yaml"

func TestTheWorkflowIsOneThatGitHubUnderstands(t *testing.T) {
	t.Parallel()
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	problems, err := linter.LintFile(workflowFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
}

func TestTheWorkflowTakesNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(workflowFile)
	if err != nil {
		t.Fatal(err)
	}
	workflow, problems := actionlint.Parse(content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if p := workflow.Permissions; p == nil || p.All != nil || len(p.Scopes) > 0 {
		t.Error("the workflow has permissions of its own: its jobs name theirs")
	}
	// Writing to the repository and signing are for different jobs.
	allowed := map[string]string{
		"check":   "contents=read",
		"images":  "attestations=write contents=read id-token=write packages=write",
		"chart":   "contents=read id-token=write packages=write",
		"release": "contents=write",
	}
	for name, job := range workflow.Jobs {
		if got := permissions(job); got != allowed[name] {
			t.Errorf("job %s may %s, want %s", name, got, allowed[name])
		}
		if job.TimeoutMinutes == nil {
			t.Errorf("job %s has no end", name)
		}
		for _, step := range job.Steps {
			checkStep(t, name, step)
		}
	}
	// A tag can be moved to other code; the comment tells people, and programs that update, which one it was.
	pinned := regexp.MustCompile(`^[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for line := range strings.Lines(string(content)) {
		_, action, found := strings.Cut(line, "uses: ")
		if found && !pinned.MatchString(strings.TrimSpace(action)) {
			t.Errorf("%s is not pinned by a commit and a version", strings.TrimSpace(action))
		}
	}
}

func checkStep(t *testing.T, job string, step *actionlint.Step) {
	t.Helper()
	switch exec := step.Exec.(type) {
	case *actionlint.ExecRun:
		// What an expression gives becomes part of the script; a variable does not.
		if strings.Contains(exec.Run.Value, "${{") {
			t.Errorf("job %s: an expression in a script: %s", job, exec.Run.Value)
		}
	case *actionlint.ExecAction:
		inputs := map[string]string{}
		for name, input := range exec.Inputs {
			inputs[name] = input.Value.Value
		}
		if strings.HasPrefix(exec.Uses.Value, "actions/checkout@") && inputs["persist-credentials"] != "false" {
			t.Errorf("job %s leaves its token in the checkout", job)
		}
		if strings.HasPrefix(exec.Uses.Value, "actions/setup-go@") && inputs["cache"] != "false" {
			t.Errorf("job %s builds from a cache that others write", job)
		}
	}
}

// permissions are those of a job, in order.
func permissions(job *actionlint.Job) string {
	if job.Permissions == nil {
		return "anything"
	}
	var all []string
	for name, scope := range job.Permissions.Scopes {
		all = append(all, name+"="+scope.Value.Value)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
