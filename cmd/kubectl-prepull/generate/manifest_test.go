package generate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// found is what is in a file, or the error of the command about it.
func found(text, namespace string) (*Found, error) {
	in, err := ReadDocuments("app.yaml", strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	f := Read(in.Documents, namespace)
	f.Notes, f.Problems = append(in.Notes, f.Notes...), append(in.Problems, f.Problems...)
	return f, f.Nothing("app.yaml")
}

func namesOf(images []workload.Image) []string {
	var names []string
	for _, image := range images {
		names = append(names, image.Name)
	}
	return names
}

const pod = `{containers: [{name: a, image: a:1}]}`

func TestImagesAreFoundWhereverPodsComeFrom(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a pod":                   "kind: Pod\nspec: " + pod,
		"a Deployment":            "kind: Deployment\nspec: {template: {spec: " + pod + "}}",
		"a CronJob":               "kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: " + pod + "}}}}",
		"a PodTemplate":           "kind: PodTemplate\ntemplate: {spec: " + pod + "}",
		"a Rollout of Argo":       "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec: {template: {spec: " + pod + "}}",
		"JSON":                    `{"kind": "Pod", "spec": {"containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80}]}]}}`,
		"JSON values in a row":    `{"kind": "Service"}` + "\n" + `{"kind": "Pod", "spec": ` + `{"containers": [{"name": "a", "image": "a:1"}]}}`,
		"JSON that is not YAML":   `{"kind": "Pod", "metadata": {"annotations": {"a": "\ud83d\ude00\/"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}`,
		"JSON after dashes":       "---\n" + `{"kind": "Service", "a": "\ud83d\ude00"} {"kind": "Pod", "spec": {"containers": [{"name": "a", "image": "a:1"}]}}`,
		"quoted keys":             `"kind": Pod` + "\n" + `"spec": ` + pod,
		"JSON with a comment":     `{"kind": "Pod", "spec": {"containers": [{"image": "a:1"}]}}` + "\n# the end\n",
		"after dots":              "kind: Service\n...\nkind: Pod\nspec: " + pod,
		"a list":                  "kind: List\nitems: [{kind: Pod, spec: " + pod + "}]",
		"a list of one kind":      "kind: PodList\nitems: [{spec: " + pod + "}]",
		"behind other objects":    "# nothing\n---\nkind: Service\n---\n---\nkind: Pod\nspec: " + pod + "\n...\n",
		"an init container":       "kind: Pod\nspec: {initContainers: [{image: a:1}], containers: []}",
		"an image volume":         "kind: Pod\nspec: {containers: [], volumes: [{name: v, image: {reference: a:1}}]}",
		"Windows line ends":       "kind: Service\r\n---\r\nkind: Pod\r\nspec: " + pod + "\r\n",
		"fields nobody knows":     "kind: Pod\nspec: {containers: [{image: a:1, new: {field: 1}}], newer: 2}",
		"an image left to others": "kind: Pod\nspec: {containers: [{image: a:1}, {name: b}]}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := found(text, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := namesOf(f.Images); !cmp.Equal(got, []string{"a:1"}) {
				t.Errorf("the images are %q", got)
			}
		})
	}
}

func TestImagesAreThereOnceWithAllTheirPlaces(t *testing.T) {
	t.Parallel()
	f, err := found(`
kind: Deployment
metadata: {name: a, namespace: shop}
spec: {template: {spec: {nodeSelector: {pool: web}, imagePullSecrets: [{name: s}], containers: [{image: "a:1"}, {image: "a:1"}, {image: "b:1"}]}}}
---
kind: Deployment
metadata: {name: b}
spec: {template: {spec: {imagePullSecrets: [{name: s}], containers: [{image: "a:1"}]}}}
---
kind: Deployment
metadata: {name: out}
spec: {template: {metadata: {labels: {kube-prepull.io/enabled: "false"}}, spec: {containers: [{image: "out:1"}]}}}
---
kind: Deployment
metadata: {name: pinned}
spec: {template: {metadata: {annotations: {pin.kube-prepull.io/a: "c:1@sha256:`+strings.Repeat("0", 64)+`"}}, spec: {containers: [{name: a, image: "c:1"}]}}}
---
kind: DaemonSet
metadata: {name: windows}
spec: {template: {spec: {nodeSelector: {kubernetes.io/os: windows}, containers: [{image: "w:1"}]}}}
`, "default")
	if err != nil {
		t.Fatal(err)
	}
	web := v1alpha1.Placement{NodeSelector: map[string]string{"pool": "web"}}
	shop, other := v1alpha1.SecretReference{Namespace: "shop", Name: "s"}, v1alpha1.SecretReference{Namespace: "default", Name: "s"}
	want := []workload.Image{
		{Name: "a:1", Placements: []v1alpha1.Placement{web, {}}, PullSecrets: []v1alpha1.SecretReference{other, shop}},
		{Name: "b:1", Placements: []v1alpha1.Placement{web}, PullSecrets: []v1alpha1.SecretReference{shop}},
		{Name: "c@sha256:" + strings.Repeat("0", 64), Placements: []v1alpha1.Placement{{}}},
	}
	if diff := cmp.Diff(want, f.Images); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if want := []string{
		"DaemonSet windows is left out: its pods run on windows", "Deployment out is left out: its pods have the label kube-prepull.io/enabled=false",
	}; !cmp.Equal(want, f.Notes) {
		t.Errorf("the notes are %q", f.Notes)
	}
}

func TestWhatIsWrongIsSaidInASentence(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "there is nothing in the input: give manifests with -f, or pipe them in; a chart has some after `helm template NAME CHART`",
		"# only a comment\n---\n":    "there is nothing in the input: give manifests with -f, or pipe them in; a chart has some after `helm template NAME CHART`",
		"a: b: c\n":                  "app.yaml:1: this is not YAML: mapping values are not allowed in this context",
		"kind: Pod\n---\na:\n\tb: 1": "app.yaml:4: this is not YAML: found character that cannot start any token",
		"a: 1\nb:\n  - c\n d: 2\n":   "app.yaml:4: this is not YAML: did not find expected key",
		"kind: Pod\n---\nkind: Pod\nspec: [a\n  b: c: d\n":                                                     "app.yaml:5: this is not YAML: did not find expected ',' or ']'",
		"kind: \"Pod\n---\nkind: Pod\n":                                                                        "app.yaml:1: this is not YAML: found unexpected end of stream",
		"kind: Pod\n---\nspec: [a\n---\nkind: Pod\n":                                                           "app.yaml:3: this is not YAML: did not find expected ',' or ']'",
		"kind: Pod\n---\nkind: Pod\nspec: *nothing\n":                                                          "app.yaml:4: this is not YAML: unknown anchor 'nothing' referenced",
		"{\"kind\": \"Pod\"}\n{\n\"kind\" \"Pod\"}\n":                                                          "app.yaml:3: this is not YAML: did not find expected ',' or '}'",
		"{\"kind\": \"Service\"}\n\n{\n\"kind\": \"Pod\", \"spec\": {\"containers\": [{\"image\": \"a b\"}]}}": `app.yaml:4: Pod: image "a b": the image cannot be parsed: invalid reference format`,
		"hello":                    "app.yaml:1: this is not a Kubernetes object",
		"\n\n---\n# a list\n- a\n": "app.yaml:5: this is not a Kubernetes object",
		"a\x00b":                   "app.yaml is not a text file",
		"# {{ in a comment }}\nkind: Pod\nspec: {containers: [{image: {{ .Values.image }}}]}": "app.yaml:2: this is a template that is not rendered: pipe the output of `helm template` in",
		"kind: Pod\nspec:\n  {{- if .Values.on }}\n  containers: []\n":                        "app.yaml:3: this is a template that is not rendered: pipe the output of `helm template` in",
		"kind: ConfigMap\ndata: {a: '{{ fine }}'}\nb:\n  c: 1\n d: 2\n":                       "app.yaml:5: this is not YAML: did not find expected key",
		"kind: Pod\nspec: {containers: [{image: '{{ .Values.image }}'}]}\n":                   "app.yaml:2: Pod: image \"{{ .Values.image }}\": this is a template that is not rendered: pipe the output of `helm template` in",
		"kind: Service\nmetadata: {name: a, namespace: b}\n---\nkind: ConfigMap\n":            "there is no workload in app.yaml: no pods come of ConfigMap, Service b/a",
		"image: {tag: a}": "app.yaml:1: this object has no kind: for a values file of Helm there is --helm-values",
		"kind: Pod\nmetadata: {name: \"a\\e[2J\"}\nspec: {containers: [{image: \"a b\"}]}": `app.yaml:3: Pod a[2J: image "a b": the image cannot be parsed: invalid reference format`,
		"kind: Pod\nspec: {containers: [{image: \"a;reboot\"}, {image: \"$(reboot)\"}]}":   "app.yaml:2: Pod: image \"$(reboot)\": the image cannot be parsed: invalid reference format\napp.yaml:2: Pod: image \"a;reboot\": the image cannot be parsed: invalid reference format",
		"kind: Pod\nmetadata: {name: a}\nspec: {containers: 1}":                            "app.yaml:1: Pod a: its pod template cannot be read: spec.containers is a number, which does not fit there",
	} {
		_, err := found(text, "")
		if err == nil || err.Error() != want {
			t.Errorf("%q: the error is\n%v\nwant\n%s", text, err, want)
		}
	}
}

func TestAFolderIsReadAsAWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"a.yaml": "kind: Pod\nspec: {containers: [{image: a:1}]}", "deep/b.json": `{"kind": "Pod", "spec": {"containers": [{"image": "b:1"}]}}`,
		"values.yml": "image: c:1", ".hidden/d.yaml": "a: b: c", ".e.yaml": "a: b: c", "README.md": "a: b: c",
	} {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in, err := ReadPath(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := Read(in.Documents, "")
	if got := namesOf(f.Images); !cmp.Equal(got, []string{"a:1", "b:1"}) {
		t.Errorf("the images are %q", got)
	}
	if len(f.Problems) != 1 || !strings.HasSuffix(f.Problems[0].Error(), "values.yml:1: this object has no kind: for a values file of Helm there is --helm-values") {
		t.Errorf("the problems are %v", f.Problems)
	}
	if _, err := ReadPath(filepath.Join(dir, "empty"), nil); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a folder that is not there: %v", err)
	}
	if _, err := ReadPath(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "there is no manifest in ") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestAKustomizationIsBuilt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"kustomization.yaml": "resources: [pod.yaml]\nimages: [{name: a, newName: registry.test/a, newTag: v2}]\n",
		"pod.yaml":           "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a:1}], tolerations: [{operator: Exists}]}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in, err := Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := Read(in.Documents, "")
	want := []workload.Image{{Name: "registry.test/a:v2", Placements: []v1alpha1.Placement{{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}}}}
	if diff := cmp.Diff(want, f.Images); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// FuzzReadDocuments has nothing to compare with: nothing may make it panic, and errors are of one line.
func FuzzReadDocuments(f *testing.F) {
	for _, seed := range []string{"a: b", "---\n---\n", "a: {{ b }}", "kind: List\nitems: [1, {kind: Pod}]", "kind: Pod\nspec: {containers: [1]}", "? a\n: b", "&a [*a]", "kind: PodList\nitems: {}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, err := ReadDocuments("f", strings.NewReader(text))
		for _, problem := range append(in.Problems, err) {
			if problem != nil && strings.Contains(problem.Error(), "\n") {
				t.Errorf("%q: the error has several lines: %v", text, problem)
			}
		}
		Read(in.Documents, "")
	})
}
