package registry

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]route{
		"":                                   {},
		"/":                                  {},
		"/token":                             {},
		"/v2/":                               {},
		"/v2/_catalog":                       {},
		"/v2/app":                            {},
		"/v2/manifests/latest":               {},
		"/v2/app/manifests/latest":           {"app", "manifests", "latest"},
		"/v2/team/app/manifests/latest":      {"team/app", "manifests", "latest"},
		"/v2/team/app/manifests/sha256:1":    {"team/app", "manifests", "sha256:1"},
		"/v2/app/blobs/sha256:1":             {"app", "blobs", "sha256:1"},
		"/v2/app/blobs/uploads":              {"app", "uploads", ""},
		"/v2/app/blobs/uploads/":             {"app", "uploads", ""},
		"/v2/app/blobs/uploads/17":           {"app", "uploads", "17"},
		"/v2/app/tags/list":                  {"app", "tags", "list"},
		"/v2/app/referrers/sha256:1":         {"app", "referrers", "sha256:1"},
		"/v2/blobs/manifests/latest":         {"blobs", "manifests", "latest"},
		"/v2/team/manifests/blobs/sha256:1":  {"team/manifests", "blobs", "sha256:1"},
		"/v2/a/blobs/uploads/manifests/v1":   {"a/blobs/uploads", "manifests", "v1"},
		"/v2/app/something/else":             {},
		"/v1/app/manifests/latest":           {},
		"/v2/manifests/app/manifests/latest": {"manifests/app", "manifests", "latest"},
	} {
		if got := parse(path); got != want {
			t.Errorf("%s is %+v, want %+v", path, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/v2/team/app/manifests/latest")
	f.Add("/v2/app/blobs/uploads/")
	f.Add("//v2///")
	f.Fuzz(func(t *testing.T, path string) {
		got := parse(path)
		if got == (route{}) {
			return
		}
		kind := got.kind
		if kind == "uploads" {
			kind = "blobs/uploads"
		}
		again := "/v2/" + got.repo + "/" + kind + "/" + got.reference
		if strings.TrimRight(again, "/") != strings.TrimRight(path, "/") {
			t.Errorf("%q became %q", path, again)
		}
	})
}
