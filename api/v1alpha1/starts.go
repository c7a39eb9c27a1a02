package v1alpha1

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StartsHalfLife is how long it takes until a start of a container weighs half.
const StartsHalfLife = 24 * time.Hour

// LongestMemory is how long an image is remembered that nothing uses: what starts at the same time of every week comes again
// before that.
const LongestMemory = 8 * 24 * time.Hour

// maxClockSkew is how far the clock of another replica may be ahead. A time that is further in the future is a wrong one.
const maxClockSkew = time.Minute

// At is the value of a decaying count at a time; 0 if there is none. A count from the future (another replica's clock is
// ahead) is taken as it is.
func (s *Starts) At(now time.Time) float64 {
	if s == nil {
		return 0
	}
	age := max(0, now.Sub(s.Time.Time))
	return s.Count.AsApproximateFloat64() * math.Exp2(-age.Hours()/StartsHalfLife.Hours())
}

// Plus is what the starts are with n more of them at a time; s may be nil.
func (s *Starts) Plus(n int, now time.Time) *Starts {
	count := s.At(now) + float64(n)
	next := &Starts{
		Count: *resource.NewMilliQuantity(int64(math.Round(count*1000)), resource.DecimalSI),
		Time:  metav1.NewTime(now.Truncate(time.Second)),
	}
	started := int64(n)
	if s != nil {
		// An hour that another replica has ended already must not be ended again.
		if ahead := s.Time.Sub(now); ahead > 0 && ahead <= maxClockSkew {
			next.Time = s.Time
		}
		if hourOf(s.Time.Time) == hourOf(next.Time.Time) {
			started += int64(s.HourCount)
		}
		next.Week = s.weekAt(next.Time.Time)
	}
	next.HourCount = int32(min(started, math.MaxInt32))
	return next
}
