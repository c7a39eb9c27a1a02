package generate

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValuesOfHelm(t *testing.T) {
	t.Parallel()
	f, err := foundInValues(t, `
replicas: 3
image: nginx:1.27
imagePullPolicy: Always
imagePullSecrets: [{name: a}]
web:
  image: {registry: registry.test, repository: shop/web, tag: v1, pullPolicy: Always}
  digest:
    image: {repository: registry.test/a, tag: v1, digest: "sha256:`+strings.Repeat("0", 64)+`"}
initImage: busybox:1.36
sidecars:
- name: log
  image: log:2
images:
  api: {name: registry.test/api, tag: 7}
  db: registry.test/db:v1
extraImages: [extra:1, {repository: extra, tag: "2"}]
appVersion: {image: {repository: registry.test/app, tag: ""}}
noTag: {image: registry.test/plain}
number: {image: {repository: n, tag: 1.10}}
template: {image: "{{ .Values.x }}/a:1"}
broken: {image: "a b:1"}
off:
  enabled: false
  image: off:1
none: {image: null}
empty: {image: ""}
switch: {image: true}
noRepository: {image: {tag: "1"}}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"busybox:1.36", "extra:1", "extra:2", "log:2", "nginx:1.27", "registry.test/a:v1@sha256:" + strings.Repeat("0", 64), "registry.test/api:7",
		"registry.test/db:v1", "registry.test/shop/web:v1",
	}
	if diff := cmp.Diff(want, namesOf(f.Images)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	notes := []string{
		"values.yaml:18: appVersion.image has no tag: charts take their appVersion then",
		"values.yaml:19: noTag.image has no tag: a chart may add one",
		"values.yaml:20: number.image has the tag 1.10, which Helm writes as 1.1: put it in quotes",
		"values.yaml:21: template.image is a template",
		`values.yaml:22: broken.image is "a b:1": the image cannot be parsed: invalid reference format`,
		"values.yaml:24: off is left out: it is not enabled",
		"values.yaml:29: noRepository.image has no repository",
	}
	if diff := cmp.Diff(notes, f.Notes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestValuesThatStandForOthers(t *testing.T) {
	t.Parallel()
	f, err := foundInValues(t, `
defaults: &defaults {registry: registry.test, repository: shop/api, tag: v1}
text: &text registry.test/job:v1
api: {image: *defaults}
web:
  image:
    <<: *defaults
    tag: v2
job: {image: *text}
all: {images: [*text, {<<: *defaults, tag: v3}]}
controller: {image: {registry: registry.test, image: ingress/controller, tag: v1}}
commit: {image: {repository: registry.test/commit, tag: 0123456}}
deep: {image: {image: *text}}
circle: &circle {image: *circle}
nest: &nest {image: {<<: *nest, tag: v1}}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"registry.test/ingress/controller:v1", "registry.test/job:v1", "registry.test/shop/api:v1", "registry.test/shop/api:v2", "registry.test/shop/api:v3"}
	if diff := cmp.Diff(want, namesOf(f.Images)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	notes := []string{
		"values.yaml:12: commit.image has the tag 0123456, which Helm writes as 42798: put it in quotes",
		"values.yaml:15: nest.image has no repository",
	}
	if diff := cmp.Diff(notes, f.Notes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTheRegistryOfAllImages(t *testing.T) {
	t.Parallel()
	f, err := foundInValues(t, "global: {imageRegistry: mirror.test}\nimage: {registry: docker.io, repository: bitnami/redis, tag: 7.2.4}\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOf(f.Images); !cmp.Equal(got, []string{"mirror.test/bitnami/redis:7.2.4"}) {
		t.Errorf("the images are %q", got)
	}
}

func TestValuesThatAreNone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":              "values.yaml has no values in it",
		"[a]":           "values.yaml has no values in it",
		"a: 1":          "there is no whole image in values.yaml, at no key that is called image or images or ends in Image: what the chart uses is in helm template NAME CHART --values FILE | kubectl prepull generate -f -",
		"a: 1\nb: c: d": "values.yaml:2: this is not YAML: mapping values are not allowed in this context",
	} {
		if _, err := foundInValues(t, text); err == nil || err.Error() != want {
			t.Errorf("%q: the error is\n%v\nwant\n%s", text, err, want)
		}
	}
}

// foundInValues is what is in values.yaml with this text, or the error of the command about it.
func foundInValues(t *testing.T, text string) (*Found, error) {
	t.Helper()
	dir := folderOf(t, map[string]string{"values.yaml": text})
	f, err := ReadValues([]string{dir + "/values.yaml"}, nil)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), dir+"/", ""))
	}
	for i := range f.Notes {
		f.Notes[i] = strings.ReplaceAll(f.Notes[i], dir+"/", "")
	}
	return f, f.Nothing("values.yaml")
}

// TestTheUsualShapesOfValues has what charts make of their values: one image, or none and why.
func TestTheUsualShapesOfValues(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0", 64)
	for text, want := range map[string]string{
		"global: {image: {registry: registry.test}}\nc: {image: {image: org/c, tag: v1}}":             "registry.test/org/c:v1",
		"global: {imageRegistry: m.test/}\nc: {image: {registry: r.test, repository: o/c, tag: v1}}":  "m.test/o/c:v1",
		"global: {imageRegistry: m.test}\nc: {image: ghcr.test/o/c:v1}":                               "ghcr.test/o/c:v1",
		"c: {image: {repository: org/c, tag: v1, digest: \"sha256:" + hash + "\"}}":                   "org/c:v1@sha256:" + hash,
		"c: {image: {repository: org/c, tag: v1, sha: \"" + hash + "\"}}":                             "org/c:v1@sha256:" + hash,
		"c: {image: {repository: org/c, tag: v1, digest: \"sha256:" + hash + "\", useDigest: false}}": "org/c:v1",
		"c: {image: {override: \"r.test/x:v9\", repository: org/c, tag: v1}}":                         "r.test/x:v9",
		"image: registry.test/a\nimageTag: \"8.5\"":                                                   "registry.test/a:8.5",
		"x: {image: registry.test/a, tag: v1}":                                                        "registry.test/a:v1",
		"x: {initImage: registry.test/a, initImageTag: v1, tag: v2}":                                  "registry.test/a:v1",
		"image: {m: {a: {repository: org/a, tag: v1}}}":                                               "org/a:v1",
		"image: {web: {image: {repository: org/a, tag: v1}}, pullPolicy: Always, sizes: {name: big}}": "org/a:v1",
		"x: {enabled: \"false\", image: {repository: org/a, tag: v1}}":                                "org/a:v1",
		"image: {repository: org/a, tag: 7}":                                                          "org/a:7",
		"image: {repository: org/a, tag: 1.27}":                                                       "org/a:1.27",
		"image: {repository: org/a, tag: old, tag: new}":                                              "org/a:new",
		"images: {registry: \"registry.test:5000\", pullPolicy: Always, a: \"org/a:v1\"}":             "registry.test:5000/org/a:v1",

		"x: {enabled: no, image: {repository: org/a, tag: v1}}":                             "x is left out: it is not enabled",
		"image: {repository: org/a, tag: 20240101}":                                         "image has the tag 20240101, which Helm writes as 2.0240101e+07: put it in quotes",
		"image: {repository: org/a, tag: 1000000}":                                          "image has the tag 1000000, which Helm writes as 1e+06: put it in quotes",
		"image: {repository: org/a, tag: 1_000}":                                            "image has the tag 1_000, which Helm writes as 1000: put it in quotes",
		"image: {repository: org/a, tag: yes}":                                              "image has the tag yes, which Helm writes as true: put it in quotes",
		"image: {repository: org/a, tag: set-by-chartpress}":                                "image has the tag set-by-chartpress, which a release replaces",
		"image: {repository: org/a, tag: v1, flavor: alpine}":                               "image has a flavor, which the chart may add to the tag",
		"global: {imageRegistry: m.test}\nimage: {repository: ghcr.test/o/a, tag: v1}":      "image names a registry, and the chart may put the global one (m.test) before it or in its place",
		"global: {imageRegistry: m.test}\nimage: org/a:v1":                                  "image is one string, and the chart may put the global registry (m.test) before it",
		"global: {aRegistry: a.test, bRegistry: b.test}\nimage: {repository: o/a, tag: v1}": "image may have one of the global registries before it: a.test, b.test",
		"image: {repository: org/a}":                                                        "image has no tag: charts take their appVersion then",
		"image: {repository: org/a, tag: v1, sha: x}":                                       `image is "org/a:v1@x": the image cannot be parsed: invalid reference format`,

		"images: {registry: \"registry.test:5000\"}":                "",
		"csi: {nodeImage: {repository: quay.test/driver, tag: v1}}": "quay.test/driver:v1",
		"csi: {nodeImage: \"quay.test/driver:v1\"}":                 "quay.test/driver:v1",
		"vm: {diskImage: \"ubuntu:22.04\", osImage: \"a:1\"}":       "",
		"sizes: {image: {name: big}}":                               "image has no tag: charts take their appVersion then",
	} {
		f, err := ReadValues([]string{"-"}, strings.NewReader(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got := strings.Join(append(namesOf(f.Images), f.Notes...), " ")
		if _, after, found := strings.Cut(got, stdin+":"); found && len(f.Images) == 0 {
			_, got, _ = strings.Cut(after, ": ")
		}
		if got != want && !(want != "" && strings.HasSuffix(got, want) && len(f.Images) == 0) {
			t.Errorf("%q: it finds %q, want %q", text, got, want)
		}
	}
}

func TestSeveralValuesFilesAreMerged(t *testing.T) {
	t.Parallel()
	dir := folderOf(t, map[string]string{
		"base.yaml": "web: {image: {repository: org/web, tag: v1}}\napi:\n  image: {repository: org/api, tag: v1}\nold: {image: old:1}\nlist: {images: [a:1, b:1]}\n",
		"prod.yaml": "web: {image: {tag: v2}}\nold: null\nlist: {images: [c:1]}\n\nnew: {image: {repository: org/new}}\n",
	})
	images, messages, code := generated(t, dir, "", "--helm-values", dir+"/base.yaml", "--helm-values", dir+"/prod.yaml")
	want := []string{"c:1", "org/api:v1", "org/web:v2"}
	if diff := cmp.Diff(want, images); diff != "" || code != 0 || messages != "note: DIR/prod.yaml:5: new.image has no tag: charts take their appVersion then\n" {
		t.Errorf("it ends with %d and prints %q\n%s", code, images, messages)
	}
}
