package wait

import (
	"fmt"
	"io"
	"strings"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// line tells of an image in one line. Names of images and words of registries are somebody else's.
func (s standing) line() string {
	words := s.image + ": "
	switch {
	case s.outcome == leftOut:
		words += "left out: " + s.words
	case s.outcome == refused || s.counts.desired == 0:
		words += s.words
	default:
		words += fmt.Sprintf("%d of %d nodes, %s", s.counts.ready, s.counts.desired, s.words)
	}
	return cli.Plain(words).String()
}

// whenChanged prints a line for each image of which there is something new.
func whenChanged(out io.Writer) func([]standing) error {
	before := map[string]string{}
	return func(all []standing) error {
		for _, s := range all {
			line := s.line()
			if before[s.image] == line {
				continue
			}
			before[s.image] = line
			if _, err := fmt.Fprintln(out, line); err != nil {
				return err
			}
		}
		return nil
	}
}

// redraw shows a bar for each image, on a terminal of so many lines (0 if that is not known), in the place of what it showed before.
func redraw(env *cli.Environment, height func() int) func([]standing) error {
	shown := 0
	return func(all []standing) error {
		rows := all
		if room := height() - 3; room > 0 && len(rows) > room {
			rows = foremost(all, room)
		}
		table := cli.NewTable("IMAGE", "", "NODES", "")
		for _, s := range rows {
			table.Row(s.image, s.bar(), fmt.Sprintf("%d/%d", s.counts.ready, s.counts.desired), s.text())
		}
		var text strings.Builder
		if shown > 0 {
			fmt.Fprintf(&text, "\x1b[%dA", shown) // as many lines up
		}
		var lines strings.Builder
		_ = table.Write(&lines, env.Colours()) // a strings.Builder takes everything
		text.WriteString(cli.WrapOff + strings.ReplaceAll(lines.String(), "\n", cli.EraseLine+"\n"))
		if rest := len(all) - len(rows); rest > 0 {
			fmt.Fprintf(&text, "and %d more%s\n", rest, cli.EraseLine)
		}
		text.WriteString(cli.EraseBelow + cli.WrapOn)
		shown = strings.Count(text.String(), "\n")
		_, err := io.WriteString(env.Out, text.String())
		return err
	}
}

// foremost are n images, those first that are waited for.
func foremost(all []standing, n int) []standing {
	var rows []standing
	for _, wanted := range []outcome{refused, open, leftOut, met} {
		for _, s := range all {
			if s.outcome == wanted && len(rows) < n {
				rows = append(rows, s)
			}
		}
	}
	return rows
}

func (s standing) bar() cli.Text {
	share := 0.0
	if s.counts.desired > 0 {
		share = min(1, float64(s.counts.ready)/float64(s.need))
	}
	if s.outcome == met {
		return cli.Good(cli.Bar(1))
	}
	return cli.Busy(cli.Bar(share))
}

func (s standing) text() cli.Text {
	switch s.outcome {
	case met:
		return cli.Good(s.words)
	case refused:
		return cli.Bad(s.words)
	case leftOut:
		return cli.Faint("left out: " + s.words)
	}
	return cli.Busy(s.words)
}
