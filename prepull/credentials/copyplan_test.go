package credentials

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
)

func pullSecret(namespace string) v1alpha1.SecretReference {
	return v1alpha1.SecretReference{Namespace: namespace, Name: "registry"}
}

// sourceOf is the pull secret of a namespace with a password for a registry, needed for repositories there, such as "app, guarded?,
// denied!". The password "?" is one that could not be read, "gone" one that is not there, and "no" one that may not be used.
func sourceOf(namespace, password, repositories string) pullSource {
	s := pullSource{ref: pullSecret(namespace), keys: map[string]plan.Use{}}
	switch password {
	case "?":
	case "gone":
		s.problem = "does not exist"
	case "no":
		s.problem, s.refused = "is in a namespace that is not opted in", true
	default:
		s.config = pullsecret.Config{Auths: map[string]pullsecret.Entry{"r.test": {Username: "u", Password: password}}}
	}
	for name := range strings.FieldsSeq(repositories) {
		use := plan.UseLogin
		if strings.HasSuffix(name, "?") {
			use = plan.UseGuard
		} else if strings.HasSuffix(name, "!") {
			use = plan.UseDenied
		}
		s.keys["r.test/"+strings.Trim(name, "?!")] = use
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

// of is the copy of a namespace's pull secret.
func (s store) of(namespace string) (pullCopy, bool) {
	i := slices.IndexFunc(s, func(c pullCopy) bool { return c.Source == pullSecret(namespace) })
	if i < 0 {
		return pullCopy{}, false
	}
	return s[i], true
}

// held is what a copy holds for repositories, such as "app=x app2=".
func (c pullCopy) held() string {
	var keys []string
	for text, e := range c.config.Auths {
		keys = append(keys, strings.TrimPrefix(text, "r.test/")+"="+e.Password)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

// step is what the source of namespace a says some minutes after the start, and what its copy then holds; "-" for no copy.
type step struct {
	minute           int
	password, needed string
	holds            string

	// changed is the minute in which its logins changed last.
	changed int
}

func TestACopyFollowsItsSource(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]step{
		"keys come and go with images":      {{0, "x", "app", "app=x", 0}, {5, "x", "app job", "app=x job=x", 0}, {6, "x", "job", "job=x", 0}, {7, "x", "", "-", 0}},
		"a rotation":                        {{0, "x", "app job", "app=x job=x", 0}, {5, "y", "app job", "app=y job=y", 5}, {9, "y", "app job", "app=y job=y", 5}},
		"a rotation with another image":     {{0, "x", "app", "app=x", 0}, {5, "y", "app job", "app=y job=y", 5}},
		"a guard":                           {{0, "x", "app", "app=x", 0}, {5, "x", "app app2?", "app2= app=x", 0}, {6, "x", "app other?", "app=x", 0}},
		"a guarded image names it":          {{0, "x", "app app2?", "app2= app=x", 0}, {5, "x", "app app2", "app2=x app=x", 0}},
		"a denied image gets a key":         {{0, "x", "app", "app=x", 0}, {5, "x", "app job!", "app=x job=x", 5}, {6, "x", "app job!", "app=x job=x", 5}},
		"denied with what it has":           {{0, "x", "app", "app=x", 0}, {5, "x", "app!", "app=x", 0}},
		"gone for a while":                  {{0, "x", "app", "app=x", 0}, {5, "gone", "app", "app=x", 0}, {34, "gone", "app", "app=x", 0}, {35, "gone", "app", "-", 0}, {36, "x", "app", "app=x", 36}},
		"guards while it is gone":           {{0, "x", "app", "app=x", 0}, {5, "gone", "app app2?", "app2= app=x", 0}},
		"deleted and made anew":             {{0, "x", "app", "app=x", 0}, {5, "gone", "app", "app=x", 0}, {6, "y", "app", "app=y", 6}, {50, "gone", "app", "app=y", 6}, {60, "y", "app", "app=y", 6}},
		"not readable for a long time":      {{0, "x", "app", "app=x", 0}, {5, "?", "app", "app=x", 0}, {500, "?", "app", "app=x", 0}},
		"gone, and not readable in between": {{0, "x", "app", "app=x", 0}, {5, "gone", "app", "app=x", 0}, {20, "?", "app", "app=x", 0}, {35, "gone", "app", "-", 0}},
		"opted out":                         {{0, "x", "app", "app=x", 0}, {1, "no", "app", "-", 0}},
		"what cannot be had has none":       {{0, "gone", "app", "-", 0}, {1, "?", "app", "-", 0}, {2, "no", "app", "-", 0}},
		"no key for the noop image":         {{0, "x", "app noo", "app=x", 0}, {1, "x", "noop", "-", 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Others share the registry, and say something else.
			others := []pullSource{sourceOf("b", "b", "app"), sourceOf("c", "c", "app2")}
			stored := store{}.carryOut(planCopies(others, nil, testNoop, prepulltest.Noon))
			for _, step := range steps {
				now := prepulltest.Noon.Add(time.Duration(step.minute) * time.Minute)
				wanted := others
				if step.needed != "" {
					wanted = append(slices.Clone(others), sourceOf("a", step.password, step.needed))
				}
				p := planCopies(wanted, stored, testNoop, now)
				if p.of[pullSecret("b")].held() != "app=b" || p.of[pullSecret("c")].held() != "app2=c" {
					t.Fatalf("minute %d: the copies of others are %+v", step.minute, p.of)
				}
				stored = throughTheAPI(t, stored.carryOut(p))
				c, found := stored.of("a")
				got := "-"
				if found {
					got = c.held()
				}
				if changed := prepulltest.Noon.Add(time.Duration(step.changed) * time.Minute); got != step.holds || found && !c.changed.Equal(changed) {
					t.Fatalf("minute %d: it holds %s and changed at %v, want %s and %v", step.minute, got, c.changed, step.holds, changed)
				}
			}
		})
	}
}

// testNoop is the repository of the image that every prepull pod has.
const testNoop = "r.test/noop"

func TestWhatBecomesOfKeys(t *testing.T) {
	t.Parallel()
	hub := sourceOf("hub", "x", "app")
	hub.keys["q.test:5000/app"] = plan.UseLogin
	crowded := sourceOf("crowded", strings.Repeat("x", 4000), "")
	for i := range 100 {
		crowded.keys[fmt.Sprintf("r.test/%03d", i)] = plan.UseLogin
	}
	p := planCopies([]pullSource{hub, crowded, sourceOf("near", "x", "noo app app2? other?"), sourceOf("gone", "gone", "app"), sourceOf("unread", "?", "app")}, nil, testNoop, prepulltest.Noon)
	for key, want := range map[string]string{
		"hub r.test/app":       "",
		"hub q.test:5000/app":  "holds no login for q.test:5000",
		"near r.test/noo":      "is not used for r.test/noo: nodes would use it for the image of prepull pods, r.test/noop, too",
		"near r.test/app2":     "",
		"near r.test/other":    "undecided",
		"gone r.test/app":      "undecided",
		"unread r.test/app":    "undecided",
		"crowded r.test/000":   "",
		"crowded r.test/099":   "holds more logins than a copy has room for",
		"somebody r.test/else": "undecided",
	} {
		namespace, repository, _ := strings.Cut(key, " ")
		got, decided := p.keys[plan.Key{Secret: pullSecret(namespace), Repository: repository}]
		if !decided {
			got = "undecided"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// A copy of an earlier version may be of several pull secrets, and holds all that they do.
func TestACopyOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	earlier := (pullCopy{name: v1alpha1.CopyPrefix + "0123456789", Source: pullSecret("a"), changed: prepulltest.Noon, config: sourceOf("a", "x", "").config}).secret("kube-prepull")
	earlier.Annotations[AnnotationSource] = "b/registry,a/registry"
	earlier.Annotations[annotationStrays] = "b/registry=differs@2026-11-23T12:00:00Z"
	was, ok := CopyOf(earlier)
	if !ok {
		t.Fatal("it is not read")
	}
	now := prepulltest.Noon.Add(time.Hour)
	for _, password := range []string{"x", "?"} {
		p := planCopies([]pullSource{sourceOf("a", password, "app"), sourceOf("b", "x", "job")}, store{was}, testNoop, now)
		a, b := p.of[pullSecret("a")], p.of[pullSecret("b")]
		if a.name != was.name || a.held() != "app=x" || !a.changed.Equal(prepulltest.Noon) || b.name == a.name || b.held() != "job=x" {
			t.Errorf("the first has %+v, the second %+v", a, b)
		}
		patch := a.patch(was)["metadata"].(map[string]any)["annotations"].(map[string]any)
		if stray, found := patch[annotationStrays]; !found || stray != nil || patch[AnnotationSource] != "a/registry" {
			t.Errorf("annotations %v", patch)
		}
	}
}

func TestNothingIsTakenForACopy(t *testing.T) {
	t.Parallel()
	s := (pullCopy{name: v1alpha1.CopyPrefix + "1", Source: pullSecret("a"), changed: prepulltest.Noon}).secret("kube-prepull")
	if _, ok := CopyOf(s); !ok {
		t.Error("a copy is not read")
	}
	s.Name = "somebody-elses"
	if _, ok := CopyOf(s); ok {
		t.Error("another Secret with our labels is taken for a copy")
	}
}

// FuzzCopies lets sources and images come, go, rotate and fail, and checks what must hold after each plan.
func FuzzCopies(f *testing.F) {
	for seed := range 60 {
		data := make([]byte, 600)
		for i := range data {
			data[i] = byte(seed*7919 + i*i*31 + i*seed)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &rolls{data: data}
		var stored store
		now := prepulltest.Noon
		sources := map[string]pullSource{}
		for range 12 {
			for _, namespace := range []string{"a", "b", "c", "d"} {
				if d.roll(3) > 0 {
					continue
				}
				s := sourceOf(namespace, []string{"x", "y", "z", "x", "gone", "?", "no"}[d.roll(7)], "")
				if s.read() && d.roll(3) == 0 {
					s.config.Auths["*.test"] = pullsecret.Entry{Username: "wide", Password: namespace}
				}
				for _, repository := range []string{"r.test/app", "r.test/app2", "r.test/app/job", "r.test/noo", "q.test/app", "r.test/v2/app"} {
					if use := d.roll(5); use < 3 {
						s.keys[repository] = plan.Use(use)
					}
				}
				if sources[namespace] = s; d.roll(5) == 0 {
					delete(sources, namespace)
				}
			}
			wanted := slices.Collect(maps.Values(sources))
			p := planCopies(wanted, stored, testNoop, now)
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
		again, ok := CopyOf(c.secret("kube-prepull"))
		if !ok {
			t.Fatalf("%s is not read back", c.name)
		}
		if !c.equal(again) {
			t.Fatalf("%+v is read back as %+v", c, again)
		}
		read = append(read, again)
	}
	return read
}

func checkCopies(t *testing.T, p copyPlan, stored store, wanted []pullSource, now time.Time) {
	t.Helper()
	again := planCopies(wanted, stored, testNoop, now)
	if len(again.create)+len(again.update)+len(again.unneeded) > 0 || !maps.Equal(p.keys, again.keys) {
		t.Fatalf("the plan is not done when it is done: %+v\nof %+v", again, stored)
	}
	sources := map[v1alpha1.SecretReference]pullSource{}
	for _, s := range wanted {
		sources[s.ref] = s
		c, found := p.of[s.ref]
		if s.refused && found {
			t.Fatalf("%v may not be used and has a copy", s.ref)
		}
		for repository, use := range s.keys {
			want := s.config.Offers(repository)
			why, decided := p.keys[plan.Key{Secret: s.ref, Repository: repository}]
			if s.read() && use != plan.UseGuard && !strings.HasPrefix(testNoop, repository) && (!decided || (why == "") != (len(want) > 0) || len(want) > 0 && c.config.Offers(repository)[0] != want[0]) {
				t.Fatalf("%v has %v for %s (%q), want %v", s.ref, c.config.Offers(repository), repository, why, want)
			}
		}
	}
	names := map[string]bool{}
	for _, c := range stored {
		s, found := sources[c.Source]
		if names[c.name] || !found || len(c.config.Auths) == 0 || p.of[c.Source].name != c.name {
			t.Fatalf("%+v is double, or without a use or content", c)
		}
		names[c.name] = true
		// Whatever its owner wrote, nobody else's image sees a login of it before none, and the noop image sees none at all.
		for _, repository := range []string{"r.test/app", "r.test/app2", "r.test/app/job", "q.test/app", "r.test/v2/app", "s.test/app", "r.test/noop"} {
			use, named := s.keys[repository]
			got := pullsecret.Matching(repository, [][]byte{c.config.Content()})
			beneath := false
			for key, use := range s.keys {
				beneath = beneath || use != plan.UseGuard && strings.HasPrefix(repository, key)
			}
			switch {
			case repository == testNoop && len(got) > 0,
				!named && !beneath && len(got) > 0,
				named && use == plan.UseGuard && len(got) > 0 && got[0] != (pullsecret.Login{}):
				t.Fatalf("%s is offered %v by %+v", repository, got, c)
			}
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
