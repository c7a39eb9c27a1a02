package v1alpha1

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const oneWeek = 7 * 24 * time.Hour

// monday is the beginning of a week.
var monday = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// started is what is known after n starts at each of some times, which are in their order.
func started(n int, times ...time.Time) *Starts {
	var s *Starts
	for _, t := range times {
		s = s.Plus(n, t)
	}
	return s
}

func near(a, b float64) bool { return math.Abs(a-b) <= 0.2*max(a, b) }

func TestExpected(t *testing.T) {
	t.Parallel()
	eight := monday.Add(8 * time.Hour)
	for name, tc := range map[string]struct {
		starts *Starts
		from   time.Time
		hours  int
		want   float64
	}{
		"of nothing comes nothing":                           {nil, eight, 168, 0},
		"what starts in this hour is none of the past":       {started(8, eight.Add(20*time.Minute)), eight.Add(59 * time.Minute), 167, 0},
		"half of it is expected a week later":                {started(8, eight.Add(20*time.Minute)), eight.Add(oneWeek), 1, 4},
		"at any minute of that hour":                         {started(8, eight.Add(20*time.Minute)), eight.Add(oneWeek + 59*time.Minute), 1, 4},
		"as soon as the hour is over":                        {started(8, eight.Add(20*time.Minute)), eight.Add(time.Hour), 168, 4},
		"not an hour earlier":                                {started(8, eight), eight.Add(oneWeek - time.Hour), 1, 0},
		"nor an hour later":                                  {started(8, eight), eight.Add(oneWeek + time.Hour), 1, 0},
		"an hour ahead it is within two":                     {started(8, eight), eight.Add(oneWeek - time.Hour), 2, 4},
		"starts of one hour are one number":                  {started(4, eight, eight.Add(time.Minute)), eight.Add(oneWeek), 1, 4},
		"starts in other hours change it as little":          {started(8, eight, eight.Add(time.Hour), eight.Add(30*time.Hour)), eight.Add(oneWeek), 1, 4},
		"two weeks make it three quarters":                   {started(8, eight, eight.Add(oneWeek)), eight.Add(2 * oneWeek), 1, 6},
		"a week without leaves half":                         {started(8, eight), eight.Add(2 * oneWeek), 1, 2},
		"so it does where starts of other hours are written": {started(8, eight, eight.Add(8*24*time.Hour)), eight.Add(2 * oneWeek), 1, 2},
		"the last hour of the week":                          {started(8, monday.Add(-time.Minute)), monday.Add(oneWeek - time.Hour), 1, 4},
		"a quarter of a start is the least":                  {started(1, eight), eight.Add(2 * oneWeek), 1, 0.25},
		"and less is none":                                   {started(1, eight), eight.Add(3 * oneWeek), 168, 0},
		"after months it is forgotten":                       {started(8, eight, eight.Add(20*oneWeek+time.Hour)), eight.Add(21 * oneWeek), 1, 0},
		"another time zone is the same hour":                 {started(8, eight.In(time.FixedZone("", 5*3600+1800))), eight.Add(oneWeek), 1, 4},
		"very many are as many as can be told":               {started(math.MaxInt32, eight, eight.Add(time.Minute), eight.Add(time.Hour)), eight.Add(oneWeek), 1, startsOf('z')},
		"what nobody here has written says nothing":          {&Starts{Time: metav1.NewTime(eight), Week: strings.Repeat("z", 167)}, eight, 168, 0},
		"nor do other characters":                            {&Starts{Time: metav1.NewTime(eight), Week: strings.Repeat("Z", 168)}, eight, 168, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.starts.Expected(tc.from, tc.hours); !near(got, tc.want) {
				t.Errorf("%v starts are expected, want %v", got, tc.want)
			}
		})
	}
}

func TestTheWeekIsAStringOfItsHours(t *testing.T) {
	t.Parallel()
	s := started(8, monday.Add(8*time.Hour), monday.Add(6*24*time.Hour+23*time.Hour), monday.Add(oneWeek))
	if want := strings.Repeat("0", 8) + "9" + strings.Repeat("0", 158) + "9"; s.Week != want || s.HourCount != 8 {
		t.Errorf("the week is %s and the hour %d, want %s and 8", s.Week, s.HourCount, want)
	}
	if s = s.Plus(1, monday.Add(30*oneWeek)); s.Week != "" {
		t.Errorf("after half a year the week is %q", s.Week)
	}
	// The clock of another replica is ahead, and the hour ended there already.
	ahead := started(8, monday.Add(8*time.Hour), monday.Add(9*time.Hour+time.Second))
	behind := ahead.Plus(1, monday.Add(9*time.Hour-time.Second))
	if behind.Week != ahead.Week || behind.HourCount != 9 || !behind.Time.Equal(&ahead.Time) {
		t.Errorf("a clock that is behind makes %+v of %+v", behind, ahead)
	}
}

func TestBusiestHours(t *testing.T) {
	t.Parallel()
	s := started(1, monday.Add(2*time.Hour)).Plus(20, monday.Add(8*time.Hour)).Plus(5, monday.Add(32*time.Hour)).Plus(1, monday.Add(40*time.Hour))
	var got []string
	for _, hour := range s.BusiestHours(2, monday.Add(44*time.Hour+time.Minute)) {
		got = append(got, hour.Format("Jan 2 15:04"))
	}
	if want := "[Jan 12 08:00 Jan 13 08:00]"; fmt.Sprint(got) != want {
		t.Errorf("the busiest hours are %v, want %s", got, want)
	}
	if got := (*Starts)(nil).BusiestHours(3, monday); len(got) > 0 {
		t.Errorf("without starts they are %v", got)
	}
}

// Reading what was written long ago is the same as reading what was written again and again since, as far as levels tell.
func FuzzWeek(f *testing.F) {
	f.Add(uint64(1), "")
	f.Add(uint64(7), strings.Repeat("z", 168))
	f.Fuzz(func(t *testing.T, seed uint64, week string) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := &Starts{Time: metav1.NewTime(noon), Week: week, HourCount: int32(r.IntN(1000))}
		now := noon
		for range 50 {
			now = now.Add(time.Duration(r.Int64N(int64(5 * 24 * time.Hour))))
			n := r.IntN(20)
			next := s.Plus(n, now)
			if len(next.Week) != 0 && (len(next.Week) != hoursOfWeek || strings.Trim(next.Week, levels) != "") {
				t.Fatalf("the week is %q", next.Week)
			}
			hour := now.Add(time.Duration(1+r.IntN(100)) * time.Hour)
			was, is := s.Expected(hour, 1), next.Expected(hour, 1)
			if was < 0 || math.IsInf(was, 0) || math.IsNaN(was) {
				t.Fatalf("%v starts are expected", was)
			}
			if math.Abs(was-is) > 0.25*was+0.25 {
				t.Fatalf("starts in another hour make %v of %v", is, was)
			}
			if again := next.Plus(0, now); again.Week != next.Week || again.HourCount != next.HourCount {
				t.Fatalf("no start makes %+v of %+v", again, next)
			}
			s = next
		}
	})
}
