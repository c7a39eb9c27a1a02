package explain

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// startsAnswer is how often pods start with an image.
type startsAnswer struct {
	// Count is how many did, of which each weighs half after 24 hours.
	Count float64 `json:"count"`

	// Expected is how many are usual in ExpectedHours, the current hour and those after it, at this time of the week.
	Expected      float64 `json:"expected"`
	ExpectedHours int     `json:"expectedHours"`

	// BusiestHours of the week are when the next ones of those begin in which most pods start, five at most.
	BusiestHours []time.Time `json:"busiestHours"`
}

// maxBusiestHours is how many of those are shown.
const maxBusiestHours = 5

func startsAnswerOf(s *v1alpha1.Starts, now time.Time) *startsAnswer {
	if s == nil {
		return nil
	}
	a := &startsAnswer{Count: s.At(now), Expected: s.Expected(now, plan.ForecastHours), ExpectedHours: plan.ForecastHours, BusiestHours: []time.Time{}}
	for _, hour := range s.BusiestHours(maxBusiestHours, now) {
		a.BusiestHours = append(a.BusiestHours, hour.UTC())
	}
	return a
}

func (a *startsAnswer) words() string {
	return fmt.Sprintf("%s lately (each weighs half after a day), %s usual in the %d hours from now on",
		roundWords(a.Count), roundWords(a.Expected), a.ExpectedHours)
}

// busiestWords are the busiest hours of the week, in its order.
func (a *startsAnswer) busiestWords() string {
	hours := slices.SortedFunc(slices.Values(a.BusiestHours), func(a, b time.Time) int {
		sinceMonday := func(t time.Time) int { return (int(t.Weekday())+6)%7*24 + t.Hour() }
		return sinceMonday(a) - sinceMonday(b)
	})
	var words []string
	for _, hour := range hours {
		words = append(words, hour.Format("Mon 15:00"))
	}
	if len(words) == 0 {
		return ""
	}
	return "busiest hours of the week (UTC): " + strings.Join(words, ", ")
}

// roundWords is a number with a decimal where that says something.
func roundWords(x float64) string {
	return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64)
}
