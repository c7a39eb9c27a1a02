package measure

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTickSpacing(t *testing.T) {
	t.Parallel()
	for longest, want := range map[float64]float64{0: 1, 0.05: 0.01, 0.6: 0.1, 0.61: 0.2, 5.3: 1, 6.1: 2, 30: 5, 31: 10, 3600: 1000} {
		if got := tickSpacing(longest); got < 0.999*want || got > 1.001*want {
			t.Errorf("ticks of %v s are every %v s, want %v", longest, got, want)
		}
	}
}

func TestDraw(t *testing.T) {
	t.Parallel()
	c := draw("heading", []bar{
		{label: "cold", steps: []step{{stepSandbox, 1}, {stepPulled, 3}, {stepStarted, 0}}, note: "4 s"},
		{label: "warm", steps: []step{{stepSandbox, 1}}},
	})
	cold, warm := c.Rows[0], c.Rows[1]
	if len(cold.Segments) != 2 || len(warm.Segments) != 1 {
		t.Fatalf("segments are %v and %v, want two and one: a step of no time is not drawn", cold.Segments, warm.Segments)
	}
	if got := cold.Segments[1]; got.Width != 75 || got.Title != "pulled: 3.0 s" || warm.Segments[0].Width != 25 {
		t.Errorf("the pull is drawn as %v, want it three quarters of the axis wide, and the second of %v a quarter", got, warm.Segments)
	}
	if cold.Note != "4 s" || c.Spacing != 25 || c.Ticks[4].At != 100 {
		t.Errorf("the note is %q, and there are ticks every %v %% at %v", cold.Note, c.Spacing, c.Ticks)
	}
	var labels []string
	for _, tick := range c.Ticks {
		labels = append(labels, tick.Label)
	}
	if diff := cmp.Diff([]string{"0 s", "1 s", "2 s", "3 s", "4 s"}, labels); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDrawNothing(t *testing.T) {
	t.Parallel()
	if c := draw("", nil); len(c.Rows) != 0 || len(c.Ticks) != 2 {
		t.Errorf("%d rows and %d ticks, want an axis alone", len(c.Rows), len(c.Ticks))
	}
}
