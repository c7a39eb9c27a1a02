package measure

import (
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		values []float64
		want   float64
	}{
		"of none":          {nil, 0},
		"of one":           {[]float64{3}, 3},
		"of an odd number": {[]float64{9, 1, 2}, 2},
		"between two":      {[]float64{4, 1, 2, 9}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := median(test.values); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestMedianLeavesItsValues(t *testing.T) {
	values := []float64{3, 1, 2}
	median(values)
	if values[0] != 3 {
		t.Errorf("the values are sorted now: %v", values)
	}
}

func TestPart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ of, whole, want float64 }{{1, 2, 0.5}, {3, 2, 1}, {1, 0, 0}, {0, 0, 0}} {
		if got := part(test.of, test.whole); got != test.want {
			t.Errorf("part(%v, %v) is %v, want %v", test.of, test.whole, got, test.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]float64{0: 0, 1499 * time.Microsecond: 0.001, 107300 * time.Millisecond: 107.3} {
		if got := seconds(d); got != want {
			t.Errorf("%v is %v, want %v", d, got, want)
		}
	}
}
