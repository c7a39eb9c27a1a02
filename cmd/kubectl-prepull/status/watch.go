package status

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

const (
	// leastPause is between two looks at the cluster. A look that takes long, because the cluster is large, is followed by
	// a longer pause, pauseShare times as long.
	leastPause = 2 * time.Second
	pauseShare = 5
)

// watch shows a status, and goes on until ctx ends. A cluster that cannot be read for a while is waited for.
func watch(ctx context.Context, read func(context.Context, time.Time) (Status, error), status Status, took time.Duration, show func(Status, time.Time) error, problems io.Writer) error {
	now := time.Now()
	for {
		if err := show(status, now); err != nil {
			return err
		}
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(max(leastPause, pauseShare*took)):
			}
			now = time.Now()
			next, err := read(ctx, now)
			took = time.Since(now)
			if err == nil {
				status = next
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			fmt.Fprintf(problems, "error: %s\n", cli.Sentence(err))
		}
	}
}

// whenChanged prints a status if it is another one than before.
func whenChanged(env *cli.Environment, output *cli.Output, write func(Status, time.Time) error) func(Status, time.Time) error {
	var before []byte
	return func(s Status, now time.Time) error {
		text, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("encoding the status: %w", err)
		}
		if bytes.Equal(text, before) {
			return nil
		}
		if output.ForPeople() {
			heading := now.Format("15:04:05")
			if before != nil {
				heading = "\n" + heading
			}
			fmt.Fprintln(env.Out, heading)
		}
		before = text
		return write(s, now)
	}
}

// redraw replaces what is on the terminal, in one write and without an empty screen in between.
func redraw(env *cli.Environment, s Status, now time.Time) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n\n", cli.Faint(now.Format("15:04:05")+"   Ctrl-C ends").Render(env.Colours()))
	if err := s.write(&text, env.Colours(), now); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if height := env.Height(); height > 1 && len(lines) > height-1 {
		lines = lines[:height-1]
	}
	_, err := io.WriteString(env.Out, cli.WrapOff+cli.CursorHome+strings.Join(lines, cli.EraseLine+"\n")+cli.EraseLine+"\n"+cli.EraseBelow+cli.WrapOn)
	return err
}
