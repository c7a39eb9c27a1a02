package pins

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestATemplateWithOtherPinsAlone(t *testing.T) {
	t.Parallel()
	a := func(digest string) map[string]string { return pinOf("a", "app", digest) }
	type change struct {
		Set     map[string]string
		Asked   []string
		Remove  []string
		Refused int
	}
	for name, test := range map[string]struct {
		mode, image string
		old, new    map[string]string
		want        change
	}{
		"nothing changes":                 {"latest", "app", a(one), a(one), change{Set: map[string]string{}}},
		"one is dropped":                  {"latest", "app", a(one), nil, change{Set: a(one)}},
		"another one comes":               {"latest", "app", a(one), a(two), change{Set: map[string]string{}, Asked: []string{"a keep " + a(one)[v1alpha1.AnnotationPin+"a"]}}},
		"one comes where there was none":  {"latest", "app", nil, a(two), change{Set: map[string]string{}, Asked: []string{"a keep "}}},
		"one of a tag that is not pinned": {"latest", "app:v1", nil, pinOf("a", "app:v1", two), change{Set: map[string]string{}, Remove: []string{"pin.kube-prepull.io/a"}, Refused: 1}},
		"another one of such a tag":       {"latest", "app:v1", pinOf("a", "app:v1", one), pinOf("a", "app:v1", two), change{Set: pinOf("a", "app:v1", one), Refused: 1}},
		"one of a workload that is not":   {"", "app", a(one), a(two), change{Set: map[string]string{}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := PlanSame(templateOf(t, test.new, "a="+test.image), templateOf(t, test.old, "a="+test.image), test.mode)
			got := change{Set: p.Set, Remove: p.Remove, Refused: len(p.Refused)}
			for _, q := range p.Questions {
				got.Asked = append(got.Asked, q.Name+" keep "+q.Keep)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPinsOfEarlierRevisionsAreAccepted(t *testing.T) {
	t.Parallel()
	old := templateOf(t, nil, "a=app", "b=b")
	both := pinOf("a", "app", one)
	both[v1alpha1.AnnotationPin+"b"] = v1alpha1.Pin("b", two)
	p := PlanPins(templateOf(t, both, "a=app", "b=b", "c=c"), old, "latest")
	p.Accept(func(key, pin string) bool {
		return key == v1alpha1.AnnotationPin+"a" && pin == v1alpha1.Pin("app", one)
	})
	var asked []string
	for _, q := range p.Questions {
		asked = append(asked, q.Name)
	}
	if diff := cmp.Diff([]string{"b", "c"}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// TestNoPinIsUsedThatNobodyKnows lets random requests bring random pins. Whatever comes out, a pin that is good for its image was
// there before, is known, or is what the registry says.
func TestNoPinIsUsedThatNobodyKnows(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 5))
		images, digests := []string{"app", "app:v1", "b:latest"}, []string{one, two, "sha256:" + one[7:70] + "a", "sha256:1"}
		pins := func() map[string]string {
			all := map[string]string{}
			for _, container := range []string{"a", "b"} {
				if random.IntN(3) > 0 {
					all[v1alpha1.AnnotationPin+container] = v1alpha1.Pin(images[random.IntN(3)], digests[random.IntN(4)])
				}
			}
			return all
		}
		containers := []string{"a=" + images[random.IntN(3)], "b=" + images[random.IntN(3)]}
		before, after := pins(), pins()
		template, mode := templateOf(t, after, containers...), []string{"latest", "tags"}[random.IntN(2)]
		var old *Template
		var p Plan
		switch random.IntN(3) {
		case 0:
			before, p = nil, PlanPins(template, nil, mode)
		case 1:
			old = templateOf(t, before, containers...)
			p = PlanSame(template, old, mode)
		default:
			old = templateOf(t, before, "a="+images[random.IntN(3)], "b="+images[random.IntN(3)], "c=c:v1")
			p = PlanPins(template, old, mode)
		}
		known := func(_, pin string) bool { return old != nil && pin[len(pin)-71:] == one }
		p.Accept(known)
		answers := random.IntN(2) == 0
		for _, q := range p.Questions {
			digest := ""
			if answers {
				digest = two
			}
			p.Settle(template, q, digest, digest == "")
		}
		for key, value := range p.Set {
			after[key] = value
		}
		for _, key := range p.Remove {
			delete(after, key)
		}
		for _, c := range templateOf(t, after, containers...).Containers {
			pin := after[c.Pin]
			if _, good := v1alpha1.Pinned(c.Image, pin); good && pin != before[c.Pin] && !known(c.Pin, pin) && (!answers || pin != v1alpha1.Pin(c.Image, two)) {
				t.Errorf("seed %d: container %s has the pin %s", seed, c.Name, pin)
			}
		}
	}
}
