package plan

import (
	"regexp"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pattern string
		image   string
		want    bool
	}{
		"the whole string":                       {"nginx:1", "nginx:1", true},
		"a beginning is not the whole":           {"nginx", "nginx:1", false},
		"an end is not the whole":                {"nginx:1", "my/nginx:1", false},
		"an asterisk is any text":                {"*:debug", "r.test/a/b:debug", true},
		"an asterisk goes over slashes":          {"r.test/*", "r.test/a/b:1", true},
		"an asterisk may be nothing":             {"nginx*", "nginx", true},
		"an asterisk alone is everything":        {"*", "nginx", true},
		"some text in the middle":                {"r.test/*/build:*", "r.test/team/a/build:1", true},
		"what comes before and after must match": {"r.test/*:debug", "r.test/a:1", false},
		"the parts come one after the other":     {"*a*b*", "b/a", false},
		"the parts do not overlap":               {"ab*ba", "aba", false},
		"the middle does not overlap the end":    {"*bc*c", "abc", false},
		"the last part may come twice":           {"*:1", "a:1:1", true},
		"a dot is a dot":                         {"r.test/*", "rxtest/a", false},
		"other signs are themselves":             {"a?[b]", "a?[b]", true},
		"many asterisks":                         {strings.Repeat("*a", 30), strings.Repeat("a", 200) + "b", false},
		"two asterisks are one":                  {"a**b", "ab", true},
	} {
		if got := (&Candidate{image: tc.image}).matches(tc.pattern); got != tc.want {
			t.Errorf("%s: %q matches %q: %v", name, tc.pattern, tc.image, got)
		}
	}
}

// FuzzPatterns compares with a regular expression.
func FuzzPatterns(f *testing.F) {
	f.Add("r.test/*:debug", "r.test/a:debug")
	f.Add("*a*ab", "aab")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, image string) {
		parts := strings.Split(strings.ToValidUTF8(pattern, "?"), "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		pattern, image = strings.ToValidUTF8(pattern, "?"), strings.ToValidUTF8(image, "?")
		want := regexp.MustCompile(`(?s)\A` + strings.Join(parts, `.*`) + `\z`).MatchString(image)
		if got := (&Candidate{image: image}).matches(pattern); got != want {
			t.Errorf("%q matches %q: %v", pattern, image, got)
		}
	})
}

func TestWhatTheConfigurationLeavesOut(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MinBytes = 10 << 20
	o.Exclude = []string{"registry.test/build/*", "*:debug"}
	sized := func(o v1alpha1.PrepullImage, bytes int64) v1alpha1.PrepullImage {
		o.Status.SizeBytes = bytes
		return o
	}
	for name, tc := range map[string]struct {
		objects []v1alpha1.PrepullImage
		want    skip
	}{
		"an image like others":        {[]v1alpha1.PrepullImage{sized(prepulltest.Learned("a:1", 1), 50<<20)}, skip{}},
		"an image of unknown size":    {[]v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}, skip{}},
		"an image of just that size":  {[]v1alpha1.PrepullImage{sized(prepulltest.Learned("a:1", 1), 10<<20)}, skip{}},
		"an image that is too small":  {[]v1alpha1.PrepullImage{sized(prepulltest.Learned("a:1", 1), 10<<20-1)}, skip{reason: "TooSmall", why: "The image takes 10485759 bytes, and one is worth a place from 10485760 on (minBytes)."}},
		"an image that is excluded":   {[]v1alpha1.PrepullImage{prepulltest.Learned("a:debug", 1)}, skip{reason: "Excluded", why: "The image matches the pattern *:debug (exclude)."}},
		"both, and excluded is first": {[]v1alpha1.PrepullImage{sized(prepulltest.Learned("a:debug", 1), 1)}, skip{reason: "Excluded", why: "The image matches the pattern *:debug (exclude)."}},
		"a declared one is exempt":    {[]v1alpha1.PrepullImage{sized(prepulltest.Declared("mine", "a:debug"), 1)}, skip{}},
		"one that is declared too":    {[]v1alpha1.PrepullImage{sized(prepulltest.Declared("mine", "a:debug"), 1), prepulltest.Learned("a:debug", 1)}, skip{}},
	} {
		found, _ := candidates(tc.objects, prepulltest.Noon)
		if got := unwanted(found, o)[found[0]]; got != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

// An image that only templates name is pulled until pods have another in its place, unless a person declared it.
func TestWhatNoPodRunsIsNotPulled(t *testing.T) {
	t.Parallel()
	user := func(runs string) v1alpha1.User {
		return v1alpha1.User{Kind: "Deployment", Namespace: "istio", Name: "gateway", Runs: runs}
	}
	for name, test := range map[string]struct {
		count    int32
		users    []v1alpha1.User
		declared bool
		want     string
	}{
		"somebody uses it":               {1, []v1alpha1.User{user("")}, false, ""},
		"one runs it, and one does not":  {1, []v1alpha1.User{user(""), user("proxy:v1")}, false, ""},
		"nobody any more":                {0, []v1alpha1.User{user("")}, false, ""},
		"pods have another in its place": {0, []v1alpha1.User{user("proxy:v1")}, false, "No pod runs the image: those of Deployment istio/gateway run proxy:v1 in its place."},
		"the same, declared":             {0, []v1alpha1.User{user("proxy:v1")}, true, ""},
	} {
		o := prepulltest.Learned("auto", 0)
		if test.declared {
			o = prepulltest.Declared("auto", "auto")
		}
		o.Status.UserCount, o.Status.Users = test.count, test.users
		found, _ := candidates([]v1alpha1.PrepullImage{o}, prepulltest.Noon)
		if got := unwanted(found, Options{})[found[0]].why; got != test.want {
			t.Errorf("%s: it says %q, want %q", name, got, test.want)
		}
	}
}
