package cli

import (
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
)

// Seconds is a span for people: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min.
func Seconds(seconds float64) string {
	switch {
	case seconds < 9.95:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 119.5:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 7200:
		s := int(math.Round(seconds))
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	m := int(math.Round(seconds / 60))
	return fmt.Sprintf("%d h %d min", m/60, m%60)
}

// NextTry says when something is tried again.
func NextTry(at, now time.Time) string {
	if !at.After(now) {
		return "next try is due"
	}
	return "next try in " + Seconds(math.Ceil(at.Sub(now).Seconds()))
}

// Ago says how long ago something was.
func Ago(at, now time.Time) string {
	return duration.HumanDuration(max(0, now.Sub(at))) + " ago"
}
