package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// weekOfTests begins the simulations: a Monday, 00:00.
var weekOfTests = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)

// simulated is an image, and how many pods start with it on average in an hour that begins at a time.
type simulated struct {
	image string
	rate  func(t time.Time) float64
}

// outcome is what a simulation counts, the first weeks left out.
type outcome struct{ starts, there, listed int }

func (o outcome) share() float64 { return float64(o.there) / float64(o.starts) }

func (o outcome) String() string {
	return fmt.Sprintf("%.1f %% of %d pods had their image in the list, which took %d images in", 100*o.share(), o.starts, o.listed)
}

// simulation goes from hour to hour.
type simulation struct {
	images []simulated
	places int

	// weeks are simulated, and counted from the week after those that are learned from.
	weeks, learning int

	// starts are how many pods start in an hour.
	starts func(rate float64) int

	// forgets is set for starts that know no hours of the week.
	forgets bool
}

func (s simulation) run() outcome {
	objects := make([]v1alpha1.PrepullImage, len(s.images))
	for i, image := range s.images {
		objects[i] = usedBy(image.image, 0, image.image)
	}
	var list []Listed
	var o outcome
	for h := range s.weeks * 7 * 24 {
		now := weekOfTests.Add(time.Duration(h) * time.Hour)
		found, _ := candidates(objects, now)
		chosen, _ := chooseAmong(found, list, nil, budget{s.places, unbounded})
		counts := h >= s.learning*7*24
		before := list
		list = nil
		for _, c := range chosen {
			list = append(list, Listed{Name: c.Name})
			if counts && named(before, c.Name) == nil {
				o.listed++
			}
		}
		for i, image := range s.images {
			n := s.starts(image.rate(now))
			if n == 0 {
				continue
			}
			if counts {
				o.starts += n
			}
			if counts && named(list, workload.ObjectName(image.image)) != nil {
				o.there += n
			}
			status := &objects[i].Status
			if status.Starts = status.Starts.Plus(n, now.Add(30*time.Minute)); s.forgets {
				status.Starts.Week, status.Starts.HourCount = "", 0
			}
		}
	}
	return o
}

// between tells whether a time is on a weekday, or any day, and in an hour from one to before another.
func between(t time.Time, weekdays bool, from, to int) bool {
	weekend := t.Weekday() == time.Saturday || t.Weekday() == time.Sunday
	return !(weekdays && weekend) && t.Hour() >= from && t.Hour() < to
}

// aWeek is what a cluster runs: builds on weekday mornings, batches of every night, and services that are at it all the time.
func aWeek() []simulated {
	var images []simulated
	when := func(name string, count int, rate func(i int, t time.Time) float64) {
		for i := range count {
			images = append(images, simulated{fmt.Sprintf("%s-%02d:v1", name, i), func(t time.Time) float64 { return rate(i, t) }})
		}
	}
	when("build", 8, func(_ int, t time.Time) float64 {
		if between(t, true, 7, 12) {
			return 6
		}
		return 0
	})
	when("batch", 6, func(_ int, t time.Time) float64 {
		if between(t, false, 2, 3) {
			return 10
		}
		return 0
	})
	when("service", 14, func(i int, _ time.Time) float64 { return math.Exp2(float64(i)/3 - 4) })
	return images
}

// noWeek is the same number of images, of which some start more than others, at any time.
func noWeek() []simulated {
	var images []simulated
	for i := range 28 {
		images = append(images, simulated{fmt.Sprintf("service-%02d:v1", i), func(time.Time) float64 { return math.Exp2(float64(i)/4 - 4) }})
	}
	return images
}

// atRandom are starts that do not depend on each other.
func atRandom(seed uint64) func(rate float64) int {
	r := rand.New(rand.NewPCG(seed, seed))
	return func(rate float64) int {
		n, left := 0, math.Exp(-rate)
		for p := r.Float64(); p > left; p *= r.Float64() {
			n++
		}
		return n
	}
}

func TestAWeekIsRemembered(t *testing.T) {
	t.Parallel()
	s := simulation{images: aWeek(), places: 14, weeks: 4, learning: 1}
	s.starts, s.forgets = atRandom(1), true
	plain := s.run()
	s.starts, s.forgets = atRandom(1), false
	weekly := s.run()
	t.Logf("builds, batches and services, half of them in the list, half-life of a day: %s", plain)
	t.Logf("with the hours of the week: %s", weekly)
	if weekly.share() < plain.share()+0.1 {
		t.Errorf("the hours of the week bring %.3f instead of %.3f", weekly.share(), plain.share())
	}
}

func TestWhereThereIsNoWeekNothingIsLost(t *testing.T) {
	t.Parallel()
	s := simulation{images: noWeek(), places: 14, weeks: 4, learning: 1}
	s.starts, s.forgets = atRandom(2), true
	plain := s.run()
	s.starts, s.forgets = atRandom(2), false
	weekly := s.run()
	t.Logf("services at random, half of them in the list, half-life of a day: %s", plain)
	t.Logf("with the hours of the week: %s", weekly)
	if weekly.share() < plain.share()-0.005 {
		t.Errorf("the hours of the week bring %.3f instead of %.3f", weekly.share(), plain.share())
	}
}

// What starts regularly changes the list as often as it begins and ends, and no more: every change restarts pods.
func TestARegularWorldChangesTheListNoMoreThanItself(t *testing.T) {
	t.Parallel()
	regularly := func(rate float64) int { return int(math.Ceil(rate)) }
	s := simulation{images: noWeek(), places: 14, weeks: 3, learning: 1, starts: regularly}
	if o := s.run(); o.listed > 0 {
		t.Errorf("services that start every hour: %s", o)
	}
	s.images = aWeek()
	// Every image that begins to start may take the place of another one, which comes back.
	if o := s.run(); o.listed > 2*2*(5*8+7*6) {
		t.Errorf("in two weeks, of 5 mornings with 8 builds and 7 nights with 6 batches each: %s", o)
	} else {
		t.Logf("two regular weeks: %s", o)
	}
}
