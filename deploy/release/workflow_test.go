// Package release tests what makes a release: the workflow, its script and the lists of what binaries are made of.
package release

import (
	"io"
	"os"
	"os/exec"
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
		"chart":   "attestations=write contents=read id-token=write packages=write",
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

// Everything that a release has is made by jobs that wait for the check, and attested where it is made.
func TestWhatIsReleasedIsCheckedAndAttested(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(workflowFile)
	if err != nil {
		t.Fatal(err)
	}
	workflow, problems := actionlint.Parse(content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	uploads := 0
	for name, job := range workflow.Jobs {
		if name != "check" && len(job.Needs) == 0 {
			t.Errorf("job %s waits for no other one", name)
		}
		var attested []string
		for _, step := range job.Steps {
			exec, ok := step.Exec.(*actionlint.ExecAction)
			if !ok {
				continue
			}
			if input := exec.Inputs["subject-path"]; input != nil && strings.HasPrefix(exec.Uses.Value, "actions/attest-build-provenance@") {
				attested = append(attested, strings.TrimSuffix(input.Value.Value, "/*"))
			}
			if strings.HasPrefix(exec.Uses.Value, "actions/upload-artifact@") {
				uploads++
				if path := exec.Inputs["path"].Value.Value; !slices.Contains(attested, path) {
					t.Errorf("job %s hands %s on, which is not attested", name, path)
				}
			}
		}
	}
	if uploads == 0 {
		t.Error("nothing is released")
	}
}

func TestATagOutsideOfMainReleasesNothing(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(workflowFile)
	if err != nil {
		t.Fatal(err)
	}
	workflow, problems := actionlint.Parse(content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var script string
	for _, step := range workflow.Jobs["check"].Steps {
		if step.Name != nil && step.Name.Value == "What is released was merged" {
			script = step.Exec.(*actionlint.ExecRun).Run.Value
		}
	}
	dir := t.TempDir()
	sh := func(script string) error {
		cmd := exec.Command("bash", "-eo", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GITHUB_REF_NAME=v1.2.3", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		return cmd.Run()
	}
	const commit = "git commit -q --allow-empty -m change\n"
	if err := sh("git init -q\n" + commit + commit + "git update-ref refs/remotes/origin/main HEAD\n"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, does string
		merged     bool
	}{
		{"the last commit of main", "true", true},
		{"an earlier one", "git checkout -q HEAD~1", true},
		{"one beside main", "git commit -q --allow-empty -m other", false},
	} {
		if err := sh(step.does); err != nil {
			t.Fatal(err)
		}
		if err := sh(script); (err == nil) != step.merged || script == "" {
			t.Errorf("%s: %v", step.name, err)
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
