package measure

import (
	"strings"
	"testing"
)

func TestConclude(t *testing.T) {
	t.Parallel()
	cold := func(s float64) Start { return Start{Cold: true, PulledSeconds: s - 0.5, StartUpSeconds: s} }
	warm := func(s float64) Start { return Start{StartUpSeconds: s} }
	for name, test := range map[string]struct {
		starts            []Start
		cold, warm, ratio float64
		note, summary     string
	}{
		"cold, then warm": {[]Start{cold(5), warm(0.9), warm(0.5), warm(0.4)}, 5, 0.5, 10, "", "10.0 times"},
		"warm alone":      {[]Start{warm(0.5), warm(0.4), warm(0.6)}, 0, 0.5, 0, "no cold start", ""},
		"pulled always":   {[]Start{cold(5), cold(0.6)}, 0, 0, 0, "AlwaysPullImages", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &Experiment{Node: "node-1", Starts: test.starts}
			x.conclude()
			if x.ColdSeconds != test.cold || x.WarmSeconds != test.warm || x.Ratio != test.ratio {
				t.Errorf("cold %v, warm %v, ratio %v", x.ColdSeconds, x.WarmSeconds, x.Ratio)
			}
			if notes := strings.Join(x.Notes, ""); !strings.Contains(notes, test.note) || test.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, test.note)
			}
			if got := x.summary(); !strings.Contains(got, test.summary) || test.summary == "" && got != "" {
				t.Errorf("summary %q, want %q", got, test.summary)
			}
		})
	}
}

func TestStrip(t *testing.T) {
	t.Parallel()
	s := Start{SandboxSeconds: 1, PulledSeconds: 8, StartedSeconds: 1, StartUpSeconds: 10}
	if got, want := s.strip(10), "░░░░"+strings.Repeat("█", 32)+"░░░░"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := s.strip(20), "░░"+strings.Repeat("█", 16)+"░░"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
