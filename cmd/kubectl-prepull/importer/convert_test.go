package importer

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// imported is what the command makes of objects: what it prints, and its messages.
func imported(t *testing.T, text string) (output, messages string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	env := cli.NewEnvironment(genericiooptions.IOStreams{In: strings.NewReader(text), Out: &out, ErrOut: &errOut})
	c := Command(env)
	c.SetErr(&errOut)
	code = cli.Execute(t.Context(), c, []string{"-f", "-"})
	return out.String(), strings.ReplaceAll(errOut.String(), "standard input:", ""), code
}

// TestObjectsOfOtherTools compares with what is in testdata: objects, what they become, and the lines about the rest.
func TestObjectsOfOtherTools(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kube-fledged", "openkruise"} {
		read := func(ending string) string {
			text, err := os.ReadFile(filepath.Join("testdata", name+ending))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		output, messages, code := imported(t, read(".yaml"))
		if diff := cmp.Diff(read(".imported.yaml"), output); diff != "" || code != 0 {
			t.Errorf("%s ends with %d; -want +got:\n%s", name, code, diff)
		}
		if diff := cmp.Diff(read(".notes"), messages); diff != "" {
			t.Errorf("%s: messages, -want +got:\n%s", name, diff)
		}
	}
}

func TestWhatCannotBeImported(t *testing.T) {
	t.Parallel()
	const cache = "apiVersion: kubefledged.io/v1alpha2\nkind: ImageCache\n"
	for text, want := range map[string]string{
		"kind: Pod": "1: Pod is none of ImageCache (kubefledged.io/v1alpha3, kubefledged.io/v1alpha2, kubefledged.k8s.io/v1alpha1, fledged.k8s.io/v1alpha1), ImagePullJob, ImageListPullJob and AdvancedCronJob (apps.kruise.io)",
		strings.Replace(cache, "2", "9", 1) + "spec: {}": "1: kubefledged.io/v1alpha9 ImageCache is none of",
		cache + "spec: {}": "1: reading the ImageCache: it has no cacheSpec",
		cache + "spec: 1":  "1: reading the ImageCache: ",
		"apiVersion: apps.kruise.io/v1alpha1\nkind: ImageListPullJob\nspec: {completionPolicy: {}}":           "1: reading the ImageListPullJob: it has no images",
		"apiVersion: apps.kruise.io/v1alpha1\nkind: ImageListPullJob\nspec: {image: a, completionPolicy: {}}": "1: reading the ImageListPullJob: it has images, not image",
		cache + "spec: {cacheSpec: [{images: []}]}":                                                           "1: reading the ImageCache: it has no images",
		"a: b: c":               "1: this is not YAML",
		"":                      "there is nothing in the input",
		"kind: List\nitems: []": "there is nothing in the input",
	} {
		output, messages, code := imported(t, text)
		if output != "" || code != 1 || !strings.HasPrefix(messages, "error: "+want) {
			t.Errorf("%q ends with %d:\n%s%s\nwant %s", text, code, output, messages, want)
		}
	}
}

func TestASelectorThatSelectsNothing(t *testing.T) {
	t.Parallel()
	output, messages, code := imported(t, "apiVersion: apps.kruise.io/v1alpha1\nkind: ImagePullJob\nmetadata: {name: a}\n"+
		"spec: {image: a, selector: {matchLabels: {x: a}, matchExpressions: [{key: x, operator: In, values: [b]}]}, completionPolicy: {type: Never}}")
	if code != 0 || !strings.Contains(output, "x: a\n") || !strings.Contains(messages, "selector.matchExpressions x In has no equivalent") {
		t.Errorf("it ends with %d:\n%s%s", code, output, messages)
	}
}

func TestWhatIsLeftOutStopsNothingElse(t *testing.T) {
	t.Parallel()
	const (
		cache   = "apiVersion: kubefledged.io/v1alpha2\nkind: ImageCache\nmetadata: {name: c}\n"
		job     = "apiVersion: apps.kruise.io/v1beta1\nkind: ImageListPullJob\nmetadata: {name: j"
		pulls   = "spec: {images: [b], completionPolicy: {type: Never}}\n"
		cronJob = "apiVersion: apps.kruise.io/v1beta1\nkind: AdvancedCronJob\nmetadata: {name: j}\n"
	)
	for text, test := range map[string]struct{ images, note string }{
		"kind: Pod": {"a", "note: 5: Pod is none of ImageCache"},
		"- a":       {"a", "note: 5: this is not a Kubernetes object"},
		cache + "spec: {cacheSpec: [{images: [b], newSelector: {}}]}":                                                              {"a b", `note: 5: ImageCache c: unknown field "spec.cacheSpec[0].newSelector": it is left out`},
		cache + "spec: {cacheSpec: [{images: [{name: b, new: c}]}]}":                                                               {"a b", `note: 5: ImageCache c: unknown field "new": it is left out`},
		cache + "spec: {cacheSpec: [{images: [b, c d]}]}":                                                                          {"a b", `note: 5: ImageCache c: image "c d" is left out: the image cannot be parsed`},
		strings.Replace(cache, "kubefledged.io/v1alpha2", "fledged.k8s.io/v1alpha1", 1) + "spec: {cacheSpec: [{images: [b]}]}":     {"a b", ""},
		strings.Replace(cache, "kubefledged.io/v1alpha2", "kubefledged.k8s.io/v1alpha1", 1) + "spec: {cacheSpec: [{images: [b]}]}": {"a b", ""},
		job + "}\n" + pulls: {"a b", ""},
		job + ", ownerReferences: [{controller: true, kind: CloneSet, name: web}]}\n" + pulls:                              {"a", "note: 5: ImageListPullJob j: it is left out: CloneSet web made it"},
		cronJob + "spec: {schedule: \"@daily\", template: {imageListPullJobTemplate: {" + strings.TrimSpace(pulls) + "}}}": {"a b", `note: 5: AdvancedCronJob j: schedule "@daily" has no equivalent`},
		cronJob + "spec: {paused: true, template: {imageListPullJobTemplate: {" + strings.TrimSpace(pulls) + "}}}":         {"a", "note: 5: AdvancedCronJob j: it is left out: it is paused"},
		cronJob + "spec: {template: {jobTemplate: {spec: {}}}}":                                                            {"a", "note: 5: AdvancedCronJob j: it is left out: it makes jobs that have pods"},
	} {
		output, messages, code := imported(t, "apiVersion: kubefledged.io/v1alpha3\nkind: ImageCache\nspec: {cacheSpec: [{images: [{name: a}]}]}\n---\n"+text)
		var images []string
		for line := range strings.Lines(output) {
			if image, found := strings.CutPrefix(line, "  image: "); found {
				images = append(images, strings.TrimSpace(image))
			}
		}
		if got := strings.Join(images, " "); code != 0 || got != test.images || !strings.HasPrefix(messages, test.note) || (test.note == "") != (messages == "") {
			t.Errorf("%q ends with %d, images %s:\n%s", text, code, got, messages)
		}
	}
}
