package wait

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

const (
	// leastPause is between two looks at the cluster. A look that takes long, because the cluster is large, is followed by
	// a longer pause, pauseShare times as long.
	leastPause = time.Second
	pauseShare = 5
)

// errInterrupted is what waiting ends with when the program is told to end.
var errInterrupted = errors.New("interrupted")

// look is how the images stand now.
type look func(ctx context.Context, now time.Time) ([]standing, error)

// await looks until every image is where it must be, or one does not come. A cluster that cannot be read for a while is waited for,
// but not at first.
func await(ctx context.Context, timeout time.Duration, look look, show func([]standing) error, problems io.Writer) ([]standing, error) {
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last []standing
	for {
		start := time.Now()
		now, err := look(timed, start)
		switch {
		case ctx.Err() != nil:
			return last, errInterrupted
		case err == nil:
			last = now
			if err := show(now); err != nil {
				return last, err
			}
			if of(now, refused) > 0 {
				return last, errors.New(refusals(now))
			}
			if of(now, open) == 0 {
				return last, nil
			}
		case timed.Err() == nil && last == nil:
			return nil, err
		case timed.Err() == nil:
			fmt.Fprintf(problems, "error: %s\n", cli.Sentence(err))
		}
		select {
		case <-ctx.Done():
			return last, errInterrupted
		case <-timed.Done():
			if last == nil {
				return nil, cli.Timef("the cluster did not answer within %s: %w", timeout, timed.Err())
			}
			return last, cli.Timef("not everything came within %s: %s", timeout, list(last, open))
		case <-time.After(max(leastPause, pauseShare*time.Since(start))):
		}
	}
}

// refusals name the images that do not come, and why.
func refusals(all []standing) string { return list(all, refused) }

// list tells of the images with an outcome, one after the other.
func list(all []standing, wanted outcome) string {
	var words []string
	for _, s := range all {
		if s.outcome == wanted {
			words = append(words, s.line())
		}
	}
	return strings.Join(words, "; ")
}
