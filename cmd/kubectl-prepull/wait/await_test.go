package wait

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

var (
	comes = standing{image: "a:1", words: "Pulling", counts: counts{desired: 2, ready: 1}, need: 2}
	there = standing{image: "a:1", outcome: met, words: "ready", counts: counts{desired: 2, ready: 2}, need: 2}
	none  = standing{image: "b:1", outcome: refused, words: "NotFound: manifest unknown"}
	small = standing{image: "c:1", outcome: leftOut, words: "It is small."}
)

func TestWaiting(t *testing.T) {
	t.Parallel()
	away := errors.New("the API server is away")
	type seen struct {
		all []standing
		err error
	}
	for name, test := range map[string]struct {
		looks     []seen // the last one again and again
		interrupt time.Duration
		err       string
		late      bool
		shown     int
		problems  string
		took      time.Duration
	}{
		"all are there":                   {looks: []seen{{all: []standing{there, small}}}, shown: 1},
		"one comes":                       {looks: []seen{{all: []standing{comes}}, {all: []standing{comes}}, {all: []standing{there}}}, shown: 3, took: 2 * time.Second},
		"one does not come":               {looks: []seen{{all: []standing{comes, none}}}, shown: 1, err: "b:1: NotFound: manifest unknown"},
		"it does not come in time":        {looks: []seen{{all: []standing{comes, small}}}, shown: 10, late: true, err: "not everything came within 9.5s: a:1: 1 of 2 nodes, Pulling", took: 9500 * time.Millisecond},
		"interrupted":                     {looks: []seen{{all: []standing{comes}}}, interrupt: 2500 * time.Millisecond, shown: 3, err: "interrupted", took: 2500 * time.Millisecond},
		"the cluster cannot be read":      {looks: []seen{{err: away}}, err: "the API server is away"},
		"the cluster is away for a while": {looks: []seen{{all: []standing{comes}}, {err: away}, {all: []standing{there}}}, shown: 2, problems: "error: the API server is away\n", took: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, interrupt := context.WithCancel(t.Context())
				defer interrupt()
				if test.interrupt > 0 {
					defer time.AfterFunc(test.interrupt, interrupt).Stop()
				}
				start, looked, shown := time.Now(), 0, 0
				look := func(context.Context, time.Time) ([]standing, error) {
					now := test.looks[min(looked, len(test.looks)-1)]
					looked++
					return now.all, now.err
				}
				var problems bytes.Buffer
				_, err := await(ctx, 9500*time.Millisecond, look, func([]standing) error { shown++; return nil }, &problems)
				if (err == nil) != (test.err == "") || err != nil && err.Error() != test.err || cli.Late(err) != test.late {
					t.Errorf("the error is %v, late: %t", err, cli.Late(err))
				}
				if took := time.Since(start); took != test.took || shown != test.shown || problems.String() != test.problems {
					t.Errorf("it takes %s, shows %d times and says %q", took, shown, problems.String())
				}
			})
		})
	}
}

func TestALookThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context, _ time.Time) ([]standing, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		_, err := await(t.Context(), time.Minute, hangs, nil, nil)
		if !cli.Late(err) || !strings.Contains(err.Error(), "did not answer within 1m0s") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestALineIsPrintedWhenThereIsSomethingNew(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	show := whenChanged(&out)
	for _, all := range [][]standing{{comes, small}, {comes, small}, {there, small}, {there, small}} {
		if err := show(all); err != nil {
			t.Fatal(err)
		}
	}
	const want = "a:1: 1 of 2 nodes, Pulling\nc:1: left out: It is small.\na:1: 2 of 2 nodes, ready\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
