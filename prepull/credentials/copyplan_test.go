package credentials

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func pullSecret(namespace string) v1alpha1.SecretReference {
	return v1alpha1.SecretReference{Namespace: namespace, Name: "registry"}
}

// says is the pull secret of a namespace with some content; "?" is one that could not be read, "gone" one that is not there, and "no"
// one that may not be used.
func says(namespace, content string) pullSource {
	s := pullSource{ref: pullSecret(namespace), hash: content}
	switch content {
	case "?":
		s.hash = ""
	case "gone":
		s.hash, s.problem = "", "does not exist"
	case "no":
		s.hash, s.problem, s.refused = "", "is in a namespace that is not opted in", true
	}
	return s
}

// store is a number of copies that plans are carried out on.
type store []pullCopy

func (s store) carryOut(p copyPlan) store {
	var next store
	for _, c := range s {
		i := slices.IndexFunc(p.update, func(u pullCopy) bool { return u.name == c.name })
		switch {
		case slices.Contains(p.unneeded, c.name):
		case i >= 0:
			next = append(next, p.update[i])
		default:
			next = append(next, c)
		}
	}
	return append(next, p.create...)
}

func (s store) find(name string) pullCopy {
	for _, c := range s {
		if c.name == name {
			return c
		}
	}
	return pullCopy{}
}

// step is what the sources of namespaces a, b and c say some minutes after the start; empty is not wanted.
type step struct {
	minute  int
	a, b, c string

	// want is what the copies of a, b and c are called, in the order in which they appear, and what they hold.
	want string
}

func TestCopiesFollowTheirSources(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]step{
		"equal credentials share a copy":        {{0, "x", "x", "y", "1x 1x 2y"}},
		"what cannot be had has none":           {{0, "gone", "?", "no", "- - -"}},
		"a rotated source takes its copy along": {{0, "x", "", "", "1x - -"}, {5, "y", "", "", "1y - -"}},
		"a rotation reaches one namespace after the other": {
			{0, "x", "x", "x", "1x 1x 1x"}, {1, "y", "x", "x", "1y 1y 1y"}, {2, "y", "y", "x", "1y 1y 1y"}, {29, "y", "y", "y", "1y 1y 1y"}, {40, "y", "y", "y", "1y 1y 1y"},
		},
		"who does not follow gets another copy": {
			{0, "x", "x", "", "1x 1x -"}, {1, "y", "x", "", "1y 1y -"}, {30, "y", "x", "", "1y 1y -"}, {31, "y", "x", "", "1y 2x -"}, {32, "y", "x", "", "1y 2x -"},
		},
		"the first one does not follow":  {{0, "x", "x", "", "1x 1x -"}, {1, "x", "y", "", "1y 1y -"}, {31, "x", "y", "", "2x 1y -"}},
		"who does not follow may join":   {{0, "x", "x", "y", "1x 1x 2y"}, {1, "z", "y", "y", "1z 1z 2y"}, {31, "z", "y", "y", "1z 2y 2y"}},
		"a rotation that is taken back":  {{0, "x", "x", "", "1x 1x -"}, {1, "y", "x", "", "1y 1y -"}, {2, "x", "x", "", "1x 1x -"}, {60, "x", "x", "", "1x 1x -"}},
		"gone for a while":               {{0, "x", "", "", "1x - -"}, {5, "gone", "", "", "1x - -"}, {34, "gone", "", "", "1x - -"}, {35, "gone", "", "", "- - -"}, {36, "x", "", "", "1x - -"}},
		"deleted and made anew":          {{0, "x", "", "", "1x - -"}, {5, "gone", "", "", "1x - -"}, {6, "y", "", "", "1y - -"}, {90, "y", "", "", "1y - -"}},
		"not readable for a long time":   {{0, "x", "x", "", "1x 1x -"}, {5, "?", "x", "", "1x 1x -"}, {500, "?", "?", "", "1x 1x -"}},
		"not readable during a rotation": {{0, "x", "x", "", "1x 1x -"}, {5, "?", "y", "", "1y 1y -"}, {6, "x", "y", "", "1y 1y -"}, {7, "y", "y", "", "1y 1y -"}},
		"gone during a rotation":         {{0, "x", "x", "", "1x 1x -"}, {5, "gone", "y", "", "1y 1y -"}, {6, "x", "y", "", "1y 1y -"}, {7, "y", "y", "", "1y 1y -"}},
		"opted out":                      {{0, "x", "x", "", "1x 1x -"}, {1, "no", "x", "", "- 1x -"}, {2, "no", "no", "", "- - -"}},
		"nobody needs it":                {{0, "x", "y", "", "1x 2y -"}, {1, "", "y", "", "- 2y -"}, {2, "", "", "", "- - -"}},
		"the one that was followed leaves": {
			{0, "x", "x", "", "1x 1x -"}, {1, "y", "x", "", "1y 1y -"}, {2, "", "x", "", "- 1x -"}, {60, "", "x", "", "- 1x -"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stored store
			numbers := map[string]int{}
			for _, step := range steps {
				now := prepulltest.Noon.Add(time.Duration(step.minute) * time.Minute)
				var wanted []pullSource
				for namespace, content := range map[string]string{"a": step.a, "b": step.b, "c": step.c} {
					if content != "" {
						wanted = append(wanted, says(namespace, content))
					}
				}
				p := planCopies(wanted, stored, now)
				stored = stored.carryOut(p)
				got := ""
				for _, namespace := range []string{"a", "b", "c"} {
					name, found := p.of[pullSecret(namespace)]
					if !found {
						got += " -"
						continue
					}
					if numbers[name] == 0 {
						numbers[name] = len(numbers) + 1
					}
					got += fmt.Sprintf(" %d%s", numbers[name], stored.find(name).hash)
				}
				if got[1:] != step.want {
					t.Fatalf("minute %d: %s, want %s", step.minute, got[1:], step.want)
				}
			}
		})
	}
}

func TestNothingIsTakenForACopy(t *testing.T) {
	t.Parallel()
	s := (pullCopy{name: CopyPrefix + "1", Sources: []v1alpha1.SecretReference{pullSecret("a")}, changed: prepulltest.Noon}).secret("kube-prepull", []byte("{}"))
	if _, ok := CopyOf(s); !ok {
		t.Error("a copy is not read")
	}
	s.Name = "somebody-elses"
	if _, ok := CopyOf(s); ok {
		t.Error("another Secret with our labels is taken for a copy")
	}
}

// FuzzCopies lets sources come, go, rotate and fail, and checks what must hold after each plan.
func FuzzCopies(f *testing.F) {
	for seed := range 60 {
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(seed*7919 + i*i*31 + i*seed)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &rolls{data: data}
		var stored store
		now := prepulltest.Noon
		contents := map[string]string{}
		for range 12 {
			for _, namespace := range []string{"a", "b", "c", "d"} {
				if d.roll(3) == 0 {
					contents[namespace] = []string{"x", "y", "z", "x", "gone", "?", "no", ""}[d.roll(8)]
				}
			}
			var wanted []pullSource
			for namespace, content := range contents {
				if content != "" {
					wanted = append(wanted, says(namespace, content))
				}
			}
			p := planCopies(wanted, stored, now)
			stored = throughTheAPI(t, stored.carryOut(p))
			checkCopies(t, p, stored, wanted, now)
			now = now.Add(time.Duration(d.roll(20)) * time.Minute)
		}
	})
}

// throughTheAPI stores the copies and reads them back.
func throughTheAPI(t *testing.T, copies store) store {
	t.Helper()
	var read store
	for _, c := range copies {
		again, ok := CopyOf(c.secret("kube-prepull", nil))
		if !ok {
			t.Fatalf("%s is not read back", c.name)
		}
		again.hash = c.hash
		if !c.equal(again) {
			t.Fatalf("%+v is read back as %+v", c, again)
		}
		read = append(read, again)
	}
	return read
}

func checkCopies(t *testing.T, p copyPlan, stored store, wanted []pullSource, now time.Time) {
	t.Helper()
	again := planCopies(wanted, stored, now)
	if len(again.create)+len(again.update)+len(again.unneeded) > 0 {
		t.Fatalf("the plan is not done when it is done: %+v\nof %+v", again, stored)
	}
	if diff := cmp.Diff(p.of, again.of); diff != "" {
		t.Fatalf("the copies of the sources change:\n%s", diff)
	}
	names := map[string]bool{}
	owner := map[v1alpha1.SecretReference]string{}
	for _, c := range stored {
		if names[c.name] || len(c.Sources) == 0 || c.hash == "" {
			t.Fatalf("%+v is double, or without a use or content", c)
		}
		names[c.name] = true
		for _, ref := range c.Sources {
			if owner[ref] != "" {
				t.Fatalf("%v has two copies", ref)
			}
			owner[ref] = c.name
		}
	}
	if diff := cmp.Diff(owner, p.of); diff != "" {
		t.Fatalf("the copies name other sources:\n%s", diff)
	}
	for _, s := range wanted {
		name, found := p.of[s.ref]
		c := stored.find(name)
		mark, strayed := c.divergent[s.ref]
		switch {
		case s.refused && found:
			t.Fatalf("%v may not be used and has a copy", s.ref)
		case s.hash != "" && !found:
			t.Fatalf("%v has no copy", s.ref)
		case s.hash != "" && s.hash != c.hash && (!strayed || now.Sub(mark.since) >= divergenceGrace):
			t.Fatalf("the copy of %v says something else: %+v", s.ref, c)
		}
	}
}

// rolls are throws of a die that a fuzzer chooses.
type rolls struct{ data []byte }

func (r *rolls) roll(sides int) int {
	if len(r.data) == 0 {
		return 0
	}
	n := int(r.data[0]) * 31 % 251
	r.data = r.data[1:]
	return n % sides
}
