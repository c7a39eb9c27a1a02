package workload

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestObjectName(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ image, want string }{
		"the last part and the tag are readable":  {"registry.example.com/team/api-service:v2.4.1", "api-service-v2-4-1-9da9dba1"},
		"a digest is only in the hash":            {"app@sha256:" + strings.Repeat("a", 64), "app-8bed6cc8"},
		"a registry port is not a tag":            {"localhost:5000/app", "app-a2cc29f2"},
		"a tag in capitals is lowered":            {"app:RC_1", "app-rc-1-cc3f7620"},
		"hyphens do not pile up":                  {"a--b__c:.x", "a-b-c-x-08c8a933"},
		"a string without letters gets a word":    {"///:::", "image-d1c40eeb"},
		"an empty string gets a word":             {"", "image-e3b0c442"},
		"letters of other alphabets are replaced": {"ä/öl:ü1", "l-1-793bfff0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ObjectName(tc.image); got != tc.want {
				t.Errorf("ObjectName(%q) = %q, want %q", tc.image, got, tc.want)
			}
		})
	}
}

func TestSpellingsOfOneImageAreDifferentObjects(t *testing.T) {
	t.Parallel()
	if a, b := ObjectName("nginx"), ObjectName("docker.io/library/nginx"); a == b {
		t.Errorf("both are %s", a)
	}
}

// The two images have the same slug and, found by trying, the same 32 bits of a hash.
func TestAnImageWhoseNameAnotherOneHasGetsALongerOne(t *testing.T) {
	t.Parallel()
	taken := map[string]bool{}
	for _, step := range []struct {
		image, want string
		ok          bool
	}{
		{"r1791.test/a", "a-c0e34076", true},
		{"r44621.test/a", "a-c0e340760e1e3fe65147b1fa", true},
		{"r44621.test/a", "", false},
	} {
		got, ok := FreeName(step.image, taken)
		if ok != step.ok || got != step.want {
			t.Errorf("%s is %q, %t, want %q, %t", step.image, got, ok, step.want, step.ok)
		}
		taken[got] = true
	}
	if long := ObjectNames(strings.Repeat("long", 100))[1]; len(long) != maxNameLength {
		t.Errorf("%s has %d characters", long, len(long))
	}
}

func FuzzObjectName(f *testing.F) {
	for _, seed := range []string{"", "nginx", "a/b:c@sha256:d", strings.Repeat("x", 1000), "\xff\x00", "-", "ſ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, image string) {
		for _, name := range ObjectNames(image) {
			if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
				t.Errorf("%q: %v", name, problems)
			}
			if strings.Contains(name, "--") {
				t.Errorf("%q has a double hyphen", name)
			}
		}
	})
}

func TestValidImage(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	for name, tc := range map[string]struct{ image, problem string }{
		"a short name":                     {"nginx", ""},
		"a full name":                      {"registry.example.com:5000/team/app:v1", ""},
		"a digest":                         {"app@" + digest, ""},
		"a tag and a digest":               {"app:v1@" + digest, ""},
		"as long as a PrepullImage allows": {strings.Repeat("a/", 127) + "a", ""},
		"nothing":                          {"", "empty"},
		"capitals in the repository":       {"Shop/App", "cannot be parsed"},
		"a space":                          {"app :v1", "cannot be parsed"},
		"an empty tag":                     {"app:", "cannot be parsed"},
		"half a digest":                    {"app@sha256:aa", "cannot be parsed"},
		"a variable that nobody replaced":  {"${IMAGE}", "cannot be parsed"},
		"an image id":                      {strings.Repeat("a", 64), "cannot be parsed"},
		"longer than the field":            {strings.Repeat("a", 1025), "1025 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := ValidImage(tc.image)
			if (err == nil) != (tc.problem == "") || err != nil && !strings.Contains(err.Error(), tc.problem) {
				t.Errorf("got %v, want %q", err, tc.problem)
			}
		})
	}
}

func TestCanonicalImageIsTheNameThatNodesReport(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	for image, want := range map[string]string{
		"nginx":                        "docker.io/library/nginx:latest",
		"team/app:v1":                  "docker.io/team/app:v1",
		"localhost:5000/app":           "localhost:5000/app:latest",
		"nginx@" + digest:              "docker.io/library/nginx@" + digest,
		"registry.test/a:v1@" + digest: "registry.test/a@" + digest,
	} {
		if got, err := CanonicalImage(image); got != want || err != nil {
			t.Errorf("CanonicalImage(%q) = %q, %v, want %q", image, got, err, want)
		}
	}
}

func TestPulledAs(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for image, want := range map[string]string{
		"nginx":                      "nginx:latest",
		"nginx:latest":               "nginx:latest",
		"nginx:1":                    "nginx:1",
		"nginx:latest" + digest:      "nginx" + digest,
		"nginx" + digest:             "nginx" + digest,
		"docker.io/nginx":            "docker.io/nginx:latest",
		"docker.io/library/nginx":    "docker.io/library/nginx:latest",
		"r.test:5000/app":            "r.test:5000/app:latest",
		"r.test:5000/app:2":          "r.test:5000/app:2",
		"r.test:5000/app:2" + digest: "r.test:5000/app" + digest,
	} {
		canonical, err := CanonicalImage(image)
		if err != nil {
			t.Fatal(err)
		}
		if got := PulledAs(image, canonical); got != want {
			t.Errorf("PulledAs(%q) = %q, want %q", image, got, want)
		}
		if !SamePull(image, want) || SamePull(image, "r.test/other") {
			t.Errorf("SamePull is wrong about %s", image)
		}
	}
}
