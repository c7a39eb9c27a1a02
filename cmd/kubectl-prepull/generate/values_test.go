package generate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValuesOfHelm(t *testing.T) {
	t.Parallel()
	f, err := ReadValues("values.yaml", strings.NewReader(`
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
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"busybox:1.36", "extra:1", "extra:2", "log:2", "nginx:1.27", "registry.test/a@sha256:" + strings.Repeat("0", 64), "registry.test/api:7",
		"registry.test/db:v1", "registry.test/shop/web:v1",
	}
	if diff := cmp.Diff(want, namesOf(f.Images)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	notes := []string{
		"values.yaml:18: appVersion.image has no tag: charts take their appVersion then",
		"values.yaml:19: noTag.image has no tag: a chart may add one",
		"values.yaml:20: number.image has the tag 1.10, a number that Helm may write in another way: put it in quotes",
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
	f, err := ReadValues("values.yaml", strings.NewReader(`
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
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"registry.test/ingress/controller:v1", "registry.test/job:v1", "registry.test/shop/api:v1", "registry.test/shop/api:v2", "registry.test/shop/api:v3"}
	if diff := cmp.Diff(want, namesOf(f.Images)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	notes := []string{
		"values.yaml:12: commit.image has the tag 0123456, a number that Helm may write in another way: put it in quotes",
		"values.yaml:15: nest.image has no repository",
	}
	if diff := cmp.Diff(notes, f.Notes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTheRegistryOfAllImages(t *testing.T) {
	t.Parallel()
	f, err := ReadValues("values.yaml", strings.NewReader("global: {imageRegistry: mirror.test}\nimage: {registry: docker.io, repository: bitnami/redis, tag: 7.2.4}\n"))
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
		"a: 1":          "there is no image in values.yaml: no key is called image or images, or ends in Image",
		"a: 1\nb: c: d": "values.yaml:2: this is not YAML: mapping values are not allowed in this context",
	} {
		if _, err := ReadValues("values.yaml", strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: the error is\n%v\nwant\n%s", text, err, want)
		}
	}
}
