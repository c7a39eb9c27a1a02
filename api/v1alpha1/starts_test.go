package v1alpha1

import (
	"math"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// noon of a Friday.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func startsAt(count string, at time.Time) *Starts {
	return &Starts{Count: resource.MustParse(count), Time: metav1.NewTime(at)}
}

func TestPlus(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before *Starts
		n      int
		want   string
	}{
		"the first start":                     {nil, 1, "1"},
		"more at the same time":               {startsAt("3", noon), 2, "5"},
		"half is left after a day":            {startsAt("8", noon.Add(-24*time.Hour)), 1, "5"},
		"a quarter after two":                 {startsAt("8", noon.Add(-48*time.Hour)), 1, "3"},
		"thousandths are kept":                {startsAt("1", noon.Add(-24*time.Hour)), 0, "500m"},
		"nothing is left after a year":        {startsAt("1000", noon.Add(-365*24*time.Hour)), 1, "1"},
		"a clock far ahead of ours adds none": {startsAt("4", noon.Add(time.Hour)), 1, "5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.before.Plus(test.n, noon.Add(400*time.Millisecond))
			// Less than a second of decay is less than a thousandth here.
			if got.Count.Cmp(resource.MustParse(test.want)) != 0 {
				t.Errorf("count = %s, want %s", got.Count.String(), test.want)
			}
			if !got.Time.Time.Equal(noon) {
				t.Errorf("time = %v, want the whole second", got.Time)
			}
		})
	}
}

func FuzzStartsDecay(f *testing.F) {
	f.Add(int64(1000), int64(3600), int64(7200), 3)
	f.Fuzz(func(t *testing.T, milli, a, b int64, n int) {
		milli, a, b, n = milli&0xffffffff, a&0xffffffff, b&0xffffffff, n&0xffff
		s := &Starts{Count: *resource.NewMilliQuantity(milli, resource.DecimalSI), Time: metav1.NewTime(noon)}
		sooner, later := noon.Add(time.Duration(min(a, b))*time.Second), noon.Add(time.Duration(max(a, b))*time.Second)
		if s.At(later) > s.At(sooner) || s.At(later) < 0 {
			t.Errorf("the count grows from %v to %v", s.At(sooner), s.At(later))
		}
		added := s.Plus(n, sooner)
		if got, want := added.At(later), s.Plus(0, sooner).At(later); got < want {
			t.Errorf("%d more starts make %v of %v", n, got, want)
		}
		if math.Abs(added.At(sooner)-s.At(sooner)-float64(n)) > 0.001 {
			t.Errorf("%v and %d more starts are %v", s.At(sooner), n, added.At(sooner))
		}
	})
}
