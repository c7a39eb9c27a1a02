package measure

import (
	"math"
	"strconv"
)

// Steps of a start, as the legend names them and the style sheet colours them.
const (
	stepScheduled = "scheduled"
	stepSandbox   = "sandbox"
	stepPulled    = "pulled"
	stepStarted   = "started"
	stepUnknown   = "unknown"
)

// bar is one line of a chart.
type bar struct {
	label string
	steps []step
	note  string // at its end
}

// step is a part of a bar.
type step struct {
	kind    string
	seconds float64
}

// chart is a drawing of bars: what the page's template needs to write it. Places and widths are percentages of the axis, which
// is as wide as the page has room.
type chart struct {
	Heading string
	Spacing float64 // of ticks
	Ticks   []tick
	Rows    []row
}

type tick struct {
	At    float64
	Label string
}

type row struct {
	Label    string
	Segments []segment
	Note     string
}

type segment struct {
	Kind  string
	Width float64
	Title string
}

// draw lays out bars over a common axis of seconds.
func draw(heading string, bars []bar) chart {
	longest := 0.0
	for _, b := range bars {
		longest = max(longest, b.length())
	}
	spacing := tickSpacing(longest)
	end := max(longest, spacing)
	c := chart{Heading: heading, Spacing: 100 * spacing / end}
	for i := 0; float64(i)*spacing <= end; i++ {
		at := float64(i) * spacing
		c.Ticks = append(c.Ticks, tick{100 * at / end, strconv.FormatFloat(thousandths(at), 'f', -1, 64) + " s"})
	}
	for _, b := range bars {
		r := row{Label: b.label, Note: b.note}
		for _, s := range b.steps {
			if s.seconds > 0 {
				r.Segments = append(r.Segments, segment{s.kind, 100 * s.seconds / end, s.kind + ": " + short(s.seconds)})
			}
		}
		c.Rows = append(c.Rows, r)
	}
	return c
}

func (b *bar) length() float64 {
	sum := 0.0
	for _, s := range b.steps {
		sum += max(0, s.seconds)
	}
	return sum
}

// tickSpacing is 1, 2 or 5 times a power of ten, so that there are at most six ticks after 0.
func tickSpacing(longest float64) float64 {
	if longest <= 0 {
		return 1
	}
	for power := math.Pow(10, math.Floor(math.Log10(longest))-1); ; power *= 10 {
		for _, factor := range []float64{1, 2, 5} {
			if longest <= 6*factor*power {
				return factor * power
			}
		}
	}
}
