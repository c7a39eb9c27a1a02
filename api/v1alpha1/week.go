package v1alpha1

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// hoursOfWeek is how many hours a week has, and so how many characters Starts.Week.
const hoursOfWeek = 7 * 24

// levels are the characters of Starts.Week, from none to the most starts.
const levels = "0123456789abcdefghijklmnopqrstuvwxyz"

// levelsPerDouble is how many levels higher twice as many starts are. A week that passes takes as many off.
const levelsPerDouble = 2

// fewestStarts are those of the first level that is not none. Fewer are forgotten.
const fewestStarts = 0.25

// mondayOffset are the hours from the Monday before to the beginning of Unix time, which was a Thursday.
const mondayOffset = 3 * 24

// Expected is how many starts are to be expected in a number of hours, of which that of a time is the first: the average of
// the weeks before, in which each counts half as much as the next one. Apart from new starts it changes at the full hour
// only. 0 if there were none.
func (s *Starts) Expected(from time.Time, hours int) float64 {
	if s == nil || s.Week == "" && s.HourCount == 0 {
		return 0
	}
	sum := 0.0
	for i := range int64(hours) {
		sum += s.expectedIn(hourOf(from) + i)
	}
	return sum
}

// BusiestHours are those of the week that begins at a time in which the most starts are expected: n at most, the busiest first.
func (s *Starts) BusiestHours(n int, from time.Time) []time.Time {
	var hours []time.Time
	for i := range hoursOfWeek {
		if hour := from.Truncate(time.Hour).Add(time.Duration(i) * time.Hour); s.Expected(hour, 1) > 0 {
			hours = append(hours, hour)
		}
	}
	slices.SortStableFunc(hours, func(a, b time.Time) int { return cmp.Compare(s.Expected(b, 1), s.Expected(a, 1)) })
	return hours[:min(n, len(hours))]
}

// expectedIn an hour, if nothing starts before it. Each time that this hour of the week went by since s was written halves
// what is expected; the first time it may be the hour in which it was written.
func (s *Starts) expectedIn(hour int64) float64 {
	value := 0.0
	if len(s.Week) == hoursOfWeek {
		value = startsOf(s.Week[slotOf(hour)])
	}
	since := hour - hourOf(s.Time.Time)
	if since <= 0 {
		return value
	}
	if since%hoursOfWeek == 0 {
		value += float64(s.HourCount)
	}
	if value = math.Ldexp(value, -int(since/hoursOfWeek)); value < fewestStarts {
		return 0
	}
	return value
}

// weekAt is Week as it is at a time.
func (s *Starts) weekAt(t time.Time) string {
	week := make([]byte, hoursOfWeek)
	for i := range int64(hoursOfWeek) {
		hour := hourOf(t) + i
		week[slotOf(hour)] = levelOf(s.expectedIn(hour))
	}
	if none := strings.Repeat(levels[:1], hoursOfWeek); string(week) == none {
		return ""
	}
	return string(week)
}

// hourOf a time is the number of its hour since a Monday.
func hourOf(t time.Time) int64 {
	return int64(math.Floor(float64(t.Unix())/time.Hour.Seconds())) + mondayOffset
}

// slotOf an hour is its place in the week.
func slotOf(hour int64) int {
	return int((hour%hoursOfWeek + hoursOfWeek) % hoursOfWeek)
}

// levelOf a number of starts is the nearest level.
func levelOf(starts float64) byte {
	if starts < fewestStarts {
		return levels[0]
	}
	level := 1 + int(math.Round(levelsPerDouble*math.Log2(starts/fewestStarts)))
	return levels[min(level, len(levels)-1)]
}

// startsOf a level; 0 of one that there is not.
func startsOf(level byte) float64 {
	i := strings.IndexByte(levels, level)
	if i <= 0 {
		return 0
	}
	return fewestStarts * math.Exp2(float64(i-1)/levelsPerDouble)
}
