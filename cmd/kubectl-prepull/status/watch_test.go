package status

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

func TestWatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		start := time.Now()
		reads := 0
		read := func(context.Context, time.Time) (Status, error) {
			reads++
			switch reads {
			case 2:
				return Status{}, errors.New("the API server is away")
			case 3:
				time.Sleep(4 * time.Second) // a large cluster
			}
			return Status{GatedNodes: reads}, nil
		}
		var shown []string
		show := func(s Status, now time.Time) error {
			shown = append(shown, now.Sub(start).String()+" "+string(rune('0'+s.GatedNodes)))
			if s.GatedNodes == 4 {
				stop()
			}
			return nil
		}
		var problems bytes.Buffer
		if err := watch(ctx, read, Status{}, 0, show, &problems); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"0s 0", "2s 1", "6s 3", "30s 4"}, shown); diff != "" {
			t.Errorf("shown (-want +got):\n%s", diff)
		}
		if got := problems.String(); got != "error: the API server is away\n" {
			t.Errorf("it says %q", got)
		}
	})
}

func TestWhereThereIsNoTerminalChangesArePrinted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &out})
	output := &cli.Output{}
	if err := output.Set("table"); err != nil {
		t.Fatal(err)
	}
	write := func(s Status, _ time.Time) error {
		out.WriteString("gated " + string(rune('0'+s.GatedNodes)) + "\n")
		return nil
	}
	show := whenChanged(env, output, write)
	for i, gated := range []int{1, 1, 2, 2} {
		if err := show(Status{GatedNodes: gated}, noon.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("12:00:00\ngated 1\n\n12:00:02\ngated 2\n", out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheScreenIsDrawnAgain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &out})
	s := Status{Images: inventory.ImageSums{Total: 1, Ready: 1}}
	if err := redraw(env, s, noon); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	if !strings.HasPrefix(got, cli.WrapOff+cli.CursorHome+"12:00:00") || !strings.HasSuffix(got, cli.EraseLine+"\n"+cli.EraseBelow+cli.WrapOn) ||
		!strings.Contains(got, "IMAGES      1   1 ready"+cli.EraseLine+"\n") {
		t.Errorf("%q", got)
	}
}
