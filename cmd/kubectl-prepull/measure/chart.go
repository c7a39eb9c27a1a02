package measure

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// Steps of a start, as the legend names them and the style sheet colours them.
const (
	stepScheduled = "scheduled"
	stepSandbox   = "sandbox"
	stepPulled    = "pulled"
	stepStarted   = "started"
	stepUnknown   = "unknown"
)

// Measures of a chart, in units of its view box.
const (
	barsTo     = 880.0
	rowHeight  = 30.0
	axisHeight = 26.0
	labelChars = 34  // at most
	charWidth  = 7.2 // on average, at the size of labels
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

// chart is a drawing of bars: what the page's template needs to write it as SVG.
type chart struct {
	Heading string
	Height  float64
	Labels  float64 // where they end
	Ticks   []tick
	Rows    []row
}

type tick struct {
	X     float64
	Label string
}

type row struct {
	Y        float64
	Label    string
	Full     string // the label if it had to be shortened
	Segments []segment
	End      float64
	Note     string
}

type segment struct {
	Kind     string
	X, Width float64
	Title    string
}

// draw lays out bars over a common axis of seconds.
func draw(heading string, bars []bar) chart {
	longest, chars := 0.0, 0
	for _, b := range bars {
		longest, chars = max(longest, b.length()), max(chars, utf8.RuneCountInString(b.label))
	}
	labels := 16 + charWidth*float64(min(chars, labelChars))
	from := labels + 12
	spacing := tickSpacing(longest)
	end := max(longest, spacing)
	x := func(seconds float64) float64 { return from + (barsTo-from)*seconds/end }
	c := chart{Heading: heading, Height: axisHeight + rowHeight*float64(len(bars)), Labels: labels}
	for i := 0; float64(i)*spacing <= end; i++ {
		at := float64(i) * spacing
		c.Ticks = append(c.Ticks, tick{x(at), strconv.FormatFloat(thousandths(at), 'f', -1, 64) + " s"})
	}
	for i, b := range bars {
		r := row{Y: axisHeight + rowHeight*float64(i), Label: shorten(b.label, labelChars), Note: b.note}
		if r.Label != b.label {
			r.Full = b.label
		}
		at := 0.0
		for _, s := range b.steps {
			if s.seconds <= 0 {
				continue
			}
			r.Segments = append(r.Segments, segment{s.kind, x(at), x(at+s.seconds) - x(at), s.kind + ": " + short(s.seconds)})
			at += s.seconds
		}
		r.End = x(at)
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

// shorten leaves out the middle of a text that has too many characters: what tells names apart is at both ends.
func shorten(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	head := (most - 1) / 2
	return string(runes[:head]) + "…" + string(runes[len(runes)-(most-1-head):])
}
