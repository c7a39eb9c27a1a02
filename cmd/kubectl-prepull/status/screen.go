package status

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

// One screen stays one screen: what goes beyond these is counted.
const (
	maxProblems = 8
	maxClasses  = 10
)

// write writes a status for people: what is wrong, the sums, and the classes of nodes, those under way first.
func (s *Status) write(w io.Writer, colours bool, now time.Time) error {
	var out strings.Builder
	p := printer{&out, colours}
	p.problems(s.Problems, now)
	p.sums(s)
	if s.Images.Total == 0 {
		p.line()
		p.line(cli.Faint("No image is known. Opt in a namespace: kubectl label namespace NAME kube-prepull.io/enabled=true"))
	}
	p.classes(s.Classes)
	_, err := io.WriteString(w, out.String())
	return err
}

type printer struct {
	out     *strings.Builder
	colours bool
}

func (p printer) line(texts ...cli.Text) {
	for _, t := range texts {
		p.out.WriteString(t.Render(p.colours))
	}
	p.out.WriteByte('\n')
}

func (p printer) problems(found []Problem, now time.Time) {
	for i, problem := range found {
		if i == maxProblems {
			p.line(cli.Faint(fmt.Sprintf("and %d more: see kubectl prepull images, kubectl prepull nodes", len(found)-i)))
			break
		}
		name := strings.ToLower(problem.Kind)
		if problem.Name != "" {
			name += " " + problem.Name
		}
		if problem.Count > 1 {
			name += fmt.Sprintf(" and %d more", problem.Count-1)
		}
		texts := []cli.Text{cli.Bad(name + ": "), cli.Plain(problem.Message)}
		if t := problem.RetryTime; t != nil {
			texts = append(texts, cli.Faint("  "+cli.NextTry(*t, now)))
		}
		p.line(texts...)
	}
	if len(found) > 0 {
		p.line()
	}
}

func (p printer) sums(s *Status) {
	plain, good, busy, bad := cli.Plain, cli.Good, cli.Busy, cli.Bad
	if m := s.Manager; m != nil {
		look := good
		if m.Ready < m.Desired || m.Ready == 0 {
			look = bad
		}
		p.line(cli.Bold("MANAGERS    "), look(fmt.Sprintf("%d of %d ready", m.Ready, m.Desired)))
	}
	p.counts("IMAGES      ", s.Images.Total, []count{
		{s.Images.Ready, "ready", good}, {s.Images.Pulling, "pulling", busy}, {s.Images.Pending, "pending", busy},
		{s.Images.Failing, "failing", bad}, {s.Images.Skipped, "skipped", plain},
	})
	p.counts("NODES       ", s.Nodes.Total, []count{
		{s.Nodes.Complete, "complete", good}, {s.Nodes.Pulling, "pulling", busy}, {s.Nodes.Failing, "failing", bad},
		{s.Nodes.NotReady, "not ready", plain}, {s.Nodes.NotSelected, "without a list", plain},
		{s.GatedNodes, "keep pods off", busy},
	})
	switch h := s.LastHour; {
	case h == nil:
		p.line(cli.Bold("LAST HOUR   "), cli.Plain("not known: "+s.LastHourUnknown))
	case h.Count == 0:
		p.line(cli.Bold("LAST HOUR   "), cli.Plain("no container started in an opted-in namespace"))
	default:
		p.line(cli.Bold("LAST HOUR   "), cli.Plain(fmt.Sprintf("%d starts, %s found their image (%d), %s saved, %s waited",
			h.Count, percent(*h.HitRate), h.Hits, cli.Seconds(h.SavedSeconds), cli.Seconds(h.WaitedSeconds))))
	}
}

// count is a number of things in a state, and its looks.
type count struct {
	n    int
	what string
	look func(string) cli.Text
}

func (p printer) counts(heading string, total int, counts []count) {
	texts := []cli.Text{cli.Bold(heading), cli.Plain(fmt.Sprint(total))}
	for _, c := range counts {
		if c.n > 0 {
			texts = append(texts, cli.Plain("   "), c.look(fmt.Sprintf("%d %s", c.n, c.what)))
		}
	}
	p.line(texts...)
}

func (p printer) classes(classes []inventory.Class) {
	if len(classes) == 0 {
		return
	}
	p.line()
	table := cli.NewTable("CLASS", "IMAGES", "NODES", "COMPLETE", "")
	done := 0
	for _, rolling := range []bool{true, false} {
		for i := range classes {
			c := &classes[i]
			if c.Done() == rolling || table.Len() == maxClasses {
				continue
			}
			done++
			complete := cli.Good(fmt.Sprint(c.Nodes.Complete))
			progress := cli.Plain(" ")
			if rolling {
				complete = cli.Busy(fmt.Sprint(c.Nodes.Complete))
				progress = cli.Busy(cli.Bar(c.Share()) + " " + percent(c.Share()))
			}
			table.Row(c.Name, c.ImageCount, c.Nodes.Total, complete, progress)
		}
	}
	_ = table.Write(p.out, p.colours) // a strings.Builder takes everything
	if rest := len(classes) - done; rest > 0 {
		p.line(cli.Faint(fmt.Sprintf("and %d more classes: see kubectl prepull nodes", rest)))
	}
}

// percent of a part from 0 to 1. What is not all never reads 100 %.
func percent(share float64) string { return fmt.Sprintf("%d %%", int(math.Floor(share*100))) }
