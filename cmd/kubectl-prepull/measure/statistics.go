package measure

import (
	"math"
	"slices"
	"time"
)

// median of values, 0 of none. Of an even number it is between the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// part of a whole, from 0 to 1; 0 of nothing.
func part(of, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(1, of/whole)
}

// seconds of a duration, to the millisecond.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

// thousandths rounds what was computed to three places.
func thousandths(value float64) float64 {
	return math.Round(value*1000) / 1000
}
