package plan

import (
	"math"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// ForecastHours is how far ahead the starts of an image are expected, the current hour included: a roll through a large cluster
// takes an hour or two, and what comes later can wait for its turn.
const ForecastHours = 4

// forecastWeight is what an expected start counts as, so that starts at a steady rate are worth the same as their decaying
// count: that is what comes in a half-life divided by the natural logarithm of 2.
var forecastWeight = v1alpha1.StartsHalfLife.Hours() / math.Ln2 / ForecastHours

// usualStarts is how many starts must be expected for an image that nobody uses to be pulled: one is as likely as not.
const usualStarts = 0.5

// startsWorth is what the starts of an image are worth at a time: what started lately may go on, and what started at this time
// of the week may come again, whichever is more. So the forecast lets nothing sink.
func startsWorth(s *v1alpha1.Starts, now time.Time) float64 {
	return max(s.At(now), s.Expected(now, ForecastHours)*forecastWeight)
}

// forecastChanges is when the worth of images changes with time alone, zero if it does not: at the full hour, if one of them is
// expected to start in a week at all.
func forecastChanges(images []*ClassImage, now time.Time) time.Time {
	for _, image := range images {
		if image.expected(now, 7*24) > 0 {
			return nextHour(now)
		}
	}
	return time.Time{}
}

// leaveMemories leaves out the images that nobody uses and that are only known because their time of the week comes again, as
// long as that is not near. It adds the reasons to skips, and returns when another image is left out, or comes back; zero if
// there is none.
func leaveMemories(found []*Candidate, skips map[*Candidate]skip, now time.Time) time.Time {
	var next time.Time
	for _, c := range found {
		if !c.remembered {
			continue
		}
		usual := c.usual(now)
		if _, out := skips[c]; !out && !usual {
			skips[c] = skip{reason: SkippedRemembered, why: "Nobody uses the image now. It is pulled again a few hours before the time of the week at which it usually starts."}
		}
		latest := now.Add(7 * 24 * time.Hour)
		if !next.IsZero() {
			latest = next
		}
		for t := nextHour(now); t.Before(latest); t = nextHour(t) {
			if c.usual(t) != usual {
				next = t
				break
			}
		}
	}
	return next
}

// usual tells whether the image is likely to start soon after a time.
func (c *Candidate) usual(t time.Time) bool {
	return c.expected(t, ForecastHours) >= usualStarts
}

// expected is how many starts are, in a number of hours from a time on.
func (c *Candidate) expected(from time.Time, hours int) float64 {
	sum := 0.0
	for _, o := range c.objects {
		sum += o.Status.Starts.Expected(from, hours)
	}
	return sum
}

func nextHour(t time.Time) time.Time { return t.Truncate(time.Hour).Add(time.Hour) }
