package pins

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	one = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	two = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// templateOf reads the template of a Deployment with these annotations and containers, written as name=image.
func templateOf(t testing.TB, annotations map[string]string, containers ...string) *Template {
	t.Helper()
	spec := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	for _, c := range containers {
		name, image, _ := strings.Cut(c, "=")
		spec.Spec.Containers = append(spec.Spec.Containers, corev1.Container{Name: name, Image: image})
	}
	raw, err := json.Marshal(map[string]any{"spec": map[string]any{"template": spec}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := Parse(raw, "Deployment")
	if err != nil {
		t.Fatal(err)
	}
	return &w.Template
}

func pinOf(container, image, digest string) map[string]string {
	return map[string]string{v1alpha1.AnnotationPin + container: v1alpha1.Pin(image, digest)}
}

func TestPinsOfATemplate(t *testing.T) {
	t.Parallel()
	a := func(image, digest string) map[string]string { return pinOf("a", image, digest) }
	found := func(Question) (string, error) { return two, nil }
	same := func(Question) (string, error) { return one, nil }
	silent := func(Question) (string, error) { return "", errors.New("no answer") }
	type change struct {
		set    map[string]string
		remove []string
	}
	for name, test := range map[string]struct {
		mode     string
		old, new *Template
		resolve  func(Question) (string, error)
		asked    string
		want     change
	}{
		"a new template is pinned":                   {"latest", nil, templateOf(t, nil, "a=app:latest"), found, "a", change{set: a("app:latest", two)}},
		"an untagged image is one of latest":         {"latest", nil, templateOf(t, nil, "a=app"), found, "a", change{set: a("app", two)}},
		"a port is no tag":                           {"latest", nil, templateOf(t, nil, "a=localhost:5000/app"), found, "a", change{set: a("localhost:5000/app", two)}},
		"another tag is left in mode latest":         {"latest", nil, templateOf(t, nil, "a=app:v1"), found, "", change{}},
		"another tag is pinned in mode tags":         {"tags", nil, templateOf(t, nil, "a=app:v1"), found, "a", change{set: a("app:v1", two)}},
		"a digest is left":                           {"tags", nil, templateOf(t, nil, "a=app@"+one), found, "", change{}},
		"a tag with a digest is left":                {"tags", nil, templateOf(t, nil, "a=app:v1@"+one), found, "", change{}},
		"what is no image is left":                   {"tags", nil, templateOf(t, nil, "a=App:latest", "b=", "c=${IMAGE}:latest"), found, "", change{}},
		"a pin that comes with a new one is asked":   {"latest", nil, templateOf(t, a("app", one), "a=app"), found, "a fresh", change{set: a("app", two)}},
		"and stays if it is the answer":              {"latest", nil, templateOf(t, a("app", one), "a=app"), same, "a fresh", change{}},
		"and goes without an answer":                 {"latest", nil, templateOf(t, a("app", one), "a=app"), silent, "a fresh", change{remove: []string{"pin.kube-prepull.io/a"}}},
		"and where the mode does not ask for it":     {"latest", nil, templateOf(t, a("app:v1", one), "a=app:v1"), found, "", change{remove: []string{"pin.kube-prepull.io/a"}}},
		"a new one with a stale pin is pinned":       {"latest", nil, templateOf(t, a("app:v1", one), "a=app"), found, "a", change{set: a("app", two)}},
		"a new one without an answer is left":        {"latest", nil, templateOf(t, a("app:v1", one), "a=app"), silent, "a", change{}},
		"some are pinned, some not":                  {"latest", nil, templateOf(t, nil, "a=app", "b=app:v1"), found, "a", change{set: a("app", two)}},
		"the same image is asked again":              {"latest", templateOf(t, a("app", one), "a=app"), templateOf(t, a("app", one), "a=app", "b=b:v1"), found, "a fresh", change{set: a("app", two)}},
		"and keeps its pin without an answer":        {"latest", templateOf(t, a("app", one), "a=app"), templateOf(t, a("app", one), "a=app", "b=b:v1"), silent, "a fresh", change{}},
		"also if the request dropped it":             {"latest", templateOf(t, a("app", one), "a=app"), templateOf(t, nil, "a=app", "b=b:v1"), silent, "a fresh", change{set: a("app", one)}},
		"a new image loses the pin without one":      {"latest", templateOf(t, a("app", one), "a=app"), templateOf(t, a("app", one), "a=app:latest"), silent, "a", change{remove: []string{"pin.kube-prepull.io/a"}}},
		"a new image is pinned":                      {"latest", templateOf(t, a("app", one), "a=app"), templateOf(t, a("app", one), "a=app:latest"), found, "a", change{set: a("app:latest", two)}},
		"a pin that the request brings is asked":     {"latest", templateOf(t, a("app", two), "a=app", "b=b:v1"), templateOf(t, a("app", one), "a=app"), found, "a fresh", change{set: a("app", two)}},
		"the one of before stays without an answer":  {"latest", templateOf(t, a("app", two), "a=app", "b=b:v1"), templateOf(t, a("app", one), "a=app"), silent, "a fresh", change{set: a("app", two)}},
		"one for another image is none of before":    {"tags", templateOf(t, a("app:v1", two), "a=app:v1"), templateOf(t, a("app:v2", one), "a=app:v2"), silent, "a fresh", change{remove: []string{"pin.kube-prepull.io/a"}}},
		"a bad pin that it brings does not":          {"latest", templateOf(t, a("app", one), "a=app", "b=b:v1"), templateOf(t, a("app", "sha256:1"), "a=app"), found, "a fresh", change{set: a("app", two)}},
		"the pin of a container that is gone goes":   {"latest", templateOf(t, a("app", one), "a=app", "b=b:v1"), templateOf(t, a("app", one), "b=b:v1"), found, "", change{remove: []string{"pin.kube-prepull.io/a"}}},
		"so does one that is for a digest now":       {"latest", templateOf(t, a("app", one), "a=app"), templateOf(t, a("app", one), "a=app@"+two), found, "", change{remove: []string{"pin.kube-prepull.io/a"}}},
		"and one that the mode does not ask for now": {"latest", templateOf(t, a("app:v1", one), "a=app:v1"), templateOf(t, a("app:v1", one), "a=app:v1", "b=b:v1"), found, "", change{remove: []string{"pin.kube-prepull.io/a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := PlanPins(test.new, test.old, test.mode)
			var asked []string
			for _, q := range p.Questions {
				what := q.Name
				if q.Fresh {
					what += " fresh"
				}
				asked = append(asked, what)
				digest, err := test.resolve(q)
				p.Settle(test.new, q, digest, err != nil)
			}
			if got := strings.Join(asked, ","); got != test.asked {
				t.Errorf("asked %q, want %q", got, test.asked)
			}
			if diff := cmp.Diff(test.want, change{p.Set, p.Remove}, cmp.AllowUnexported(change{})); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPinsThatARequestDropsComeBack(t *testing.T) {
	t.Parallel()
	a := func(digest string) map[string]string { return pinOf("a", "app", digest) }
	for name, test := range map[string]struct{ old, new, want map[string]string }{
		"nothing is dropped":        {a(one), a(one), map[string]string{}},
		"a dropped one":             {a(one), nil, a(one)},
		"a spoilt one":              {a(one), a("sha256:1"), a(one)},
		"another good one stays":    {a(one), a(two), map[string]string{}},
		"one that is good for none": {pinOf("gone", "app", one), nil, pinOf("gone", "app", one)},
		"a new one stays":           {nil, a(one), map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := RestorePins(templateOf(t, test.new, "a=app"), templateOf(t, test.old, "a=app"))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("restored (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnImageThatIsNeverPulledIsNotPinned(t *testing.T) {
	t.Parallel()
	c := Container{Name: "a", Pin: v1alpha1.AnnotationPin + "a", Image: "app"}
	if !pinnable(&c, "latest") {
		t.Fatal("it would not be pinned anyway")
	}
	c.Policy = corev1.PullNever
	if pinnable(&c, "latest") {
		t.Error("it is pinned")
	}
}

func TestTemplatesThatDifferInPinsOnlyAreTheSame(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		a, b *Template
		want bool
	}{
		"equal":                    {templateOf(t, nil, "a=app"), templateOf(t, nil, "a=app"), true},
		"a pin more":               {templateOf(t, nil, "a=app"), templateOf(t, pinOf("a", "app", one), "a=app"), true},
		"another pin":              {templateOf(t, pinOf("a", "app", two), "a=app"), templateOf(t, pinOf("a", "app", one), "a=app"), true},
		"another image":            {templateOf(t, nil, "a=app"), templateOf(t, nil, "a=app:v1"), false},
		"another annotation":       {templateOf(t, nil, "a=app"), templateOf(t, map[string]string{"restartedAt": "now"}, "a=app"), false},
		"the value of one differs": {templateOf(t, map[string]string{"x": "1"}, "a=app"), templateOf(t, map[string]string{"x": "2"}, "a=app"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.a.SameBesidesPins(test.b); got != test.want {
				t.Errorf("same: %t, want %t", got, test.want)
			}
		})
	}
}
