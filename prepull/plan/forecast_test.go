package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// aWeekAgo is the noon of these tests, a week earlier.
var aWeekAgo = prepulltest.Noon.Add(-7 * 24 * time.Hour)

// startedWith is an image in use with which n pods started at some times.
func startedWith(image string, n int, times ...time.Time) v1alpha1.PrepullImage {
	o := usedBy(image, 0, image)
	o.Status.Starts = nil
	for _, t := range times {
		o.Status.Starts = o.Status.Starts.Plus(n, t)
	}
	return o
}

func memory(o v1alpha1.PrepullImage) v1alpha1.PrepullImage {
	o.Status.UserCount, o.Status.Remembered = 0, true
	return o
}

func TestWhatStartsAreWorth(t *testing.T) {
	t.Parallel()
	steady := startedWith("steady:1", 0)
	for h := range 6 * 7 * 24 {
		steady.Status.Starts = steady.Status.Starts.Plus(3, prepulltest.Noon.Add(time.Duration(h-6*7*24)*time.Hour))
	}
	monday := startedWith("monday:1", 100, aWeekAgo.Add(time.Hour))
	for name, tc := range map[string]struct {
		starts   *v1alpha1.Starts
		at       time.Time
		from, to float64
	}{
		"none are worth nothing":                 {nil, prepulltest.Noon, 0, 0},
		"a steady rate is worth its count":       {steady.Status.Starts, prepulltest.Noon, 0.99 * steady.Status.Starts.At(prepulltest.Noon), 1.1 * steady.Status.Starts.At(prepulltest.Noon)},
		"what was a week ago is worth little":    {monday.Status.Starts, prepulltest.Noon.Add(-4 * time.Hour), 0.7, 1},
		"but for the hours before it comes back": {monday.Status.Starts, prepulltest.Noon.Add(-2 * time.Hour), 300, 600},
		"until they are over":                    {monday.Status.Starts, prepulltest.Noon.Add(2 * time.Hour), 0.7, 1},
	} {
		if got := startsWorth(tc.starts, tc.at); got < tc.from || got > tc.to {
			t.Errorf("%s: %v, want from %v to %v", name, got, tc.from, tc.to)
		}
	}
}

func TestWhatUsuallyStartsNextHasAPlace(t *testing.T) {
	t.Parallel()
	usual := startedWith("usual:1", 40, aWeekAgo)
	lately := startedWith("lately:1", 10, prepulltest.Noon.Add(-20*time.Hour))
	old, next := startedWith("r.test/app:v1", 40, aWeekAgo), usedBy("r.test/app:v2", 0, "r.test/app:v1")
	for name, tc := range map[string]struct {
		objects []v1alpha1.PrepullImage
		at      time.Time
		want    string
	}{
		"hours before its time":        {[]v1alpha1.PrepullImage{usual, lately}, prepulltest.Noon.Add(-4 * time.Hour), "lately:1"},
		"when its time is near":        {[]v1alpha1.PrepullImage{usual, lately}, prepulltest.Noon.Add(-3 * time.Hour), "usual:1"},
		"when its time is over":        {[]v1alpha1.PrepullImage{usual, lately}, prepulltest.Noon.Add(time.Hour), "lately:1"},
		"a new version of it, in time": {[]v1alpha1.PrepullImage{memory(old), next, lately}, prepulltest.Noon.Add(-time.Hour), "r.test/app:v2"},
		"not of something else":        {[]v1alpha1.PrepullImage{memory(old), usedBy("r.test/other:v2", 0, "r.test/app:v1"), lately}, prepulltest.Noon.Add(-time.Hour), "lately:1"},
	} {
		found, _ := candidates(tc.objects, tc.at)
		chosen, _ := chooseAmong(found, nil, nil, budget{1, unbounded})
		if len(chosen) != 1 || chosen[0].image != tc.want {
			t.Errorf("%s: %v has the place, want %s", name, chosen[0].image, tc.want)
		}
	}
}

func TestTimeAloneChangesAListThatIsFull(t *testing.T) {
	t.Parallel()
	now := prepulltest.Noon.Add(-20*time.Hour - 10*time.Minute)
	next := now.Add(10 * time.Minute)
	weekly := []v1alpha1.PrepullImage{startedWith("a:1", 2, aWeekAgo, prepulltest.Noon.Add(-24*time.Hour)), prepulltest.Learned("b:1", 1)}
	for name, tc := range map[string]struct {
		images []v1alpha1.PrepullImage
		places int
		want   time.Time
	}{
		"while there is room for all":   {weekly, 2, time.Time{}},
		"when there is not":             {weekly, 1, next},
		"but no image has hours of its": {[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 2), prepulltest.Learned("b:1", 1)}, 1, time.Time{}},
	} {
		o := testOptions
		o.MaxImagesPerNode = tc.places
		if got := Make(State{Images: tc.images, Nodes: prepulltest.Nodes(2)}, o, now).Next; !got.Equal(tc.want) {
			t.Errorf("%s the plan is made again at %v, want %v", name, got, tc.want)
		}
	}
}

func TestAMemoryIsPulledBeforeItsUsualTime(t *testing.T) {
	t.Parallel()
	usual := memory(startedWith("usual:1", 2, aWeekAgo.Add(30*time.Minute)))
	in := prepulltest.Noon.Add
	for name, tc := range map[string]struct {
		images []v1alpha1.PrepullImage
		at     time.Time
		list   string
		next   time.Time
	}{
		"a day before it is only known":          {[]v1alpha1.PrepullImage{usual}, in(-24 * time.Hour), "[]", in(-3 * time.Hour)},
		"it is pulled three hours before":        {[]v1alpha1.PrepullImage{usual}, in(-3 * time.Hour), "[usual:1]", in(time.Hour)},
		"and left out again when the hour ended": {[]v1alpha1.PrepullImage{usual}, in(time.Hour), "[]", in(7*24*time.Hour - 3*time.Hour)},
		"it takes no place from what is in use":  {[]v1alpha1.PrepullImage{usual, usedBy("app:1", 0, "app")}, in(-3 * time.Hour), "[app:1]", in(-2 * time.Hour)},
		"another spelling of it is in use":       {[]v1alpha1.PrepullImage{memory(startedWith("usual:latest", 2, aWeekAgo)), usedBy("usual", 1, "app")}, in(-24 * time.Hour), "[usual]", in(-3 * time.Hour)},
		"a person has declared it":               {[]v1alpha1.PrepullImage{usual, prepulltest.Declared("mine", "usual:1")}, in(-24 * time.Hour), "[usual:1]", time.Time{}},
		"one start may be chance":                {[]v1alpha1.PrepullImage{memory(startedWith("usual:1", 1, aWeekAgo.Add(-7*24*time.Hour)))}, in(-3 * time.Hour), "[]", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions
			o.MaxImagesPerNode = 1
			s := State{Images: slices.Clone(tc.images), Nodes: prepulltest.Nodes(2)}
			p := Make(s, o, tc.at)
			s.carryOut(p)
			if got := fmt.Sprint(s.listOf("linux-amd64")); got != tc.list {
				t.Errorf("listed are %s, want %s", got, tc.list)
			}
			if !p.Next.Equal(tc.next) {
				t.Errorf("the plan is made again at %v, want %v", p.Next, tc.next)
			}
			status := s.status(workload.ObjectName("usual:1"))
			if tc.list == "[]" && (status.State != "Skipped: Remembered" || !strings.Contains(status.Conditions[0].Message, "a few hours before")) {
				t.Errorf("it is %s: %v", status.State, status.Conditions)
			}
			if again := Make(s, o, tc.at.Add(10*time.Minute)); len(again.Roll)+len(again.UpdateInPlace)+len(again.DeleteEmpty)+len(again.Statuses) > 0 {
				t.Errorf("ten minutes later %+v is written", again.Statuses)
			}
		})
	}
}
