package explain

import (
	"fmt"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// labelWidth is of the column with what a line is about.
const labelWidth = 13

// page is what an answer is written on.
type page struct {
	out     strings.Builder
	colours bool
	wide    bool
	now     time.Time
}

// line has a label and texts; without a label it goes on below the texts before.
func (p *page) line(label string, texts ...cli.Text) {
	row := cli.Bold(label).Render(p.colours) + strings.Repeat(" ", max(1, labelWidth-len(label)))
	for _, t := range texts {
		row += t.Render(p.colours)
	}
	p.out.WriteString(strings.TrimRight(row, " ") + "\n")
}

// text is a line of plain text, none if it is empty.
func (p *page) text(label, text string) {
	if text != "" {
		p.line(label, cli.Plain(text))
	}
}

func (p *page) table(t *cli.Table) {
	p.out.WriteByte('\n')
	_ = t.Write(&p.out, p.colours) // a strings.Builder takes everything
}

// starts are the last ones, the newest first.
func (p *page) starts(starts []inventory.Start, unknown string) {
	p.out.WriteByte('\n')
	switch {
	case unknown != "":
		p.text("LAST STARTS", "not known: "+unknown)
		return
	case len(starts) == 0:
		p.text("LAST STARTS", "none in the last hour")
		return
	}
	table := cli.NewTable("LAST STARTS", "POD", "CONTAINER", "NODE", "IMAGE WAS", "WAITED", "SAVED")
	for i := range starts {
		s := &starts[i]
		was, waited, saved := cli.Good("there"), "", ""
		if !s.Hit {
			was, waited = cli.Bad("missing"), cli.Seconds(s.WaitedSeconds)
		}
		if s.SavedSeconds > 0 {
			saved = cli.Seconds(s.SavedSeconds)
		}
		table.Row(cli.Ago(s.Time, p.now), s.Namespace+"/"+s.Pod, s.Container, s.Node, was, waited, saved)
	}
	_ = table.Write(&p.out, p.colours)
}

// pullState is the state of an image on a node, in its colour.
func pullState(s warmth.PullState) cli.Text {
	switch s {
	case warmth.PullDone:
		return cli.Good(string(s))
	case warmth.PullFailed:
		return cli.Bad(string(s))
	case warmth.PullActive, warmth.PullQueued:
		return cli.Busy(string(s))
	}
	return cli.Plain(string(s))
}

// some names a few of many.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
