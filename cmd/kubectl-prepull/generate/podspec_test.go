package generate

import (
	"slices"
	"strings"
	"testing"
)

func TestPodSpecsWhereverTheyStand(t *testing.T) {
	t.Parallel()
	const containers = `{containers: [{name: w, image: "registry.test/w:v1"}]}`
	for name, text := range map[string]string{
		"below other keys":           "kind: X\nspec: {worker: {template: {spec: " + containers + "}}}",
		"in a list":                  "kind: X\nspec: {groups: [{size: 1}, {podTemplate: {metadata: {labels: {a: b}}, spec: " + containers + "}}]}",
		"not called spec":            "kind: X\nspec: {podSpec: " + containers + "}",
		"as the spec itself":         "kind: X\nspec: " + containers,
		"with init containers alone": `{kind: X, spec: {pod: {initContainers: [{image: "registry.test/w:v1"}]}}}`,
		"in objects of an object":    "kind: Template\nobjects: [{kind: Deployment, spec: {template: {spec: " + containers + "}}}]",
		"several in one object":      `{kind: X, spec: {head: {template: {spec: {containers: [{image: "registry.test/w:v1"}]}}}, workers: [{template: {spec: {containers: [{image: "registry.test/w:v1"}]}}}]}}`,
	} {
		f, err := found(podFile+"---\n"+text, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := namesOf(f.Images); !slices.Equal(got, []string{"a:1", "registry.test/w:v1"}) || len(f.Notes) > 0 {
			t.Errorf("%s: the images are %q, the notes %q", name, got, f.Notes)
		}
	}
}

func TestImagesOutsideOfPodSpecsAreNamed(t *testing.T) {
	t.Parallel()
	for text, note := range map[string]string{
		"kind: Prometheus\nmetadata: {name: p}\nspec: {image: quay.test/prometheus:v3}":                    "app.yaml:6: Prometheus p: spec.image is quay.test/prometheus:v3, outside of a pod spec",
		"kind: CephCluster\nspec: {cephVersion: {image: quay.test/ceph:v19}}":                              "app.yaml:5: CephCluster: spec.cephVersion.image is quay.test/ceph:v19, outside of a pod spec",
		"kind: Cluster\nspec: {imageName: ghcr.test/postgresql:17}":                                        "app.yaml:5: Cluster: spec.imageName is ghcr.test/postgresql:17, outside of a pod spec",
		"kind: Workflow\nspec: {templates: [{container: {image: busybox:1}}]}":                             "app.yaml:5: Workflow: spec.templates[0].container.image is busybox:1, outside of a pod spec",
		"kind: VirtualMachine\nspec: {diskImage: \"ubuntu:22.04\", osImage: a/b:1}":                        "",
		"kind: Driver\nspec: {nodeImage: \"quay.test/driver:v1\"}":                                         "app.yaml:5: Driver: spec.nodeImage is quay.test/driver:v1, outside of a pod spec",
		"kind: X\nspec: {image: a:1}":                                                                      "",
		"kind: X\nspec: {image: plain, other: registry.test/a:1}":                                          "",
		"kind: CustomResourceDefinition\nspec: {image: registry.test/a:1}":                                 "",
		"kind: X\nmetadata: {annotations: {image: registry.test/a:1}}\nstatus: {image: registry.test/a:1}": "",
	} {
		f, err := found(podFile+"---\n"+text, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := namesOf(f.Images); !slices.Equal(got, []string{"a:1"}) {
			t.Errorf("%q: the images are %q", text, got)
		}
		if notes := strings.Join(f.Notes, "\n"); (note == "") != (notes == "") || !strings.HasPrefix(notes, note) {
			t.Errorf("%q: the notes are %q", text, notes)
		}
	}
}

func TestHooksOfHelm(t *testing.T) {
	t.Parallel()
	for hook, there := range map[string]bool{"test": false, "test-success": false, "pre-delete,post-delete": false, "pre-install, pre-upgrade": true, "test,post-install": true} {
		f, err := found(podFile+"---\nkind: Pod\nmetadata: {name: b, annotations: {helm.sh/hook: \""+hook+"\"}}\nspec: {containers: [{image: b:1}]}", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(namesOf(f.Images), "b:1"); got != there || !there && !slices.Equal(f.Notes, []string{"Pod b is left out: it is a hook of Helm that runs for tests or when the release is deleted"}) {
			t.Errorf("%s: the images are %q, the notes %q", hook, namesOf(f.Images), f.Notes)
		}
	}
}
