package wait

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

func TestTheBarsAreDrawnInTheSamePlace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &out})
	show := redraw(env, func() int { return 0 })
	for _, all := range [][]standing{{comes, small}, {there, small}} {
		if err := show(all); err != nil {
			t.Fatal(err)
		}
	}
	want := `IMAGE                                      NODES
a:1     [###############...............]   1/2     Pulling
c:1     [..............................]   0/0     left out: It is small.
UP IMAGE                                      NODES
a:1     [##############################]   2/2     ready
c:1     [..............................]   0/0     left out: It is small.
`
	got := strings.NewReplacer(cli.WrapOff, "", cli.WrapOn, "", cli.EraseLine, "", cli.EraseBelow, "", "\x1b[3A", "UP ").Replace(out.String())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestABoardThatIsHigherThanTheScreen(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &out})
	var all []standing
	for i := range 30 {
		s := there
		if s.image = fmt.Sprintf("a:%d", i); i == 29 {
			s.outcome, s.words = open, "Pulling"
		}
		all = append(all, s)
	}
	if err := redraw(env, func() int { return 10 })(all); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(out.String(), "\n")
	if len(lines) > 10 || !strings.Contains(lines[1], "Pulling") || !strings.Contains(out.String(), "and 23 more") {
		t.Errorf("%d lines:\n%s", len(lines), out.String())
	}
}

func TestHowItEnded(t *testing.T) {
	t.Parallel()
	for want, all := range map[string][]standing{
		"1 image is on its nodes":                     {there},
		"2 images are on their nodes":                 {there, there},
		"1 image is on its nodes, and 2 left out":     {small, there, small},
		"0 images are on their nodes, and 1 left out": {small},
	} {
		if got := summary(all); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
