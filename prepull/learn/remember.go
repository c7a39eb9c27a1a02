package learn

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// comingHours are those in which an image must be likely to start: a week.
	comingHours = 7 * 24

	// shortestHabit is how long an image must have been in use, from the first time to the last: a build of which the image
	// has a name of its own runs once, and does not come again.
	shortestHabit = 24 * time.Hour

	// maxKnown is how many images there may be for others to be remembered: half of the places are for what is in use.
	maxKnown = maxImages / 2
)

// habitual tells whether an image that nothing uses is likely to start within a week, as it did before.
func (l learned) habitual(now time.Time) bool {
	return l.FirstSeenTime != nil && l.LastSeenTime != nil &&
		l.LastSeenTime.Sub(l.FirstSeenTime.Time) >= shortestHabit && now.Sub(l.LastSeenTime.Time) < v1alpha1.LongestMemory &&
		l.Starts.Expected(now, comingHours) >= 1
}

// forgotten are the names of the remembered objects for which there is no room beside the other ones. Namespaces have what
// room there is in turns, each for those that are likely to start the most.
func forgotten(images []v1alpha1.PrepullImage, now time.Time) map[string]bool {
	type memory struct {
		name, namespace string
		expected        float64
		turn            int
	}
	var memories []memory
	for i := range images {
		if s := &images[i].Status; s.Remembered {
			m := memory{name: images[i].Name, expected: s.Starts.Expected(now, comingHours)}
			if len(s.Users) > 0 {
				m.namespace = s.Users[0].Namespace
			}
			memories = append(memories, m)
		}
	}
	slices.SortFunc(memories, func(a, b memory) int {
		return cmp.Or(cmp.Compare(b.expected, a.expected), strings.Compare(a.name, b.name))
	})
	turns := map[string]int{}
	for i, m := range memories {
		memories[i].turn = turns[m.namespace]
		turns[m.namespace]++
	}
	slices.SortStableFunc(memories, func(a, b memory) int { return cmp.Compare(a.turn, b.turn) })
	room := max(0, maxKnown-(len(images)-len(memories)))
	forget := map[string]bool{}
	for _, m := range memories[min(room, len(memories)):] {
		forget[m.name] = true
	}
	return forget
}
