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
		"kind: Pod": "1: Pod is none of ImageCache (kubefledged.io/v1alpha2, v1alpha3), ImagePullJob and ImageListPullJob (apps.kruise.io/v1alpha1, v1beta1)",
		strings.Replace(cache, "2", "9", 1) + "spec: {}":              "1: kubefledged.io/v1alpha9 ImageCache is none of",
		cache + "spec: {cacheSpec: [{images: [a], newSelector: {}}]}": `1: reading the ImageCache: json: unknown field "newSelector"`,
		cache + "spec: {cacheSpec: [{images: [{name: a, new: b}]}]}":  `1: reading the ImageCache: json: unknown field "new"`,
		cache + "spec: {}": "1: reading the ImageCache: it has no cacheSpec",
		cache + "metadata: {name: a}\nspec: {cacheSpec: [{images: [a b]}]}":                                   `1: ImageCache a: image "a b": the image cannot be parsed`,
		"apiVersion: apps.kruise.io/v1alpha1\nkind: ImagePullJob\nspec: {images: [a], completionPolicy: {}}":  `1: ImagePullJob: image "": the image is empty`,
		"apiVersion: apps.kruise.io/v1alpha1\nkind: ImageListPullJob\nspec: {completionPolicy: {}}":           "1: reading the ImageListPullJob: it has no images",
		"apiVersion: apps.kruise.io/v1alpha1\nkind: ImageListPullJob\nspec: {image: a, completionPolicy: {}}": "1: reading the ImageListPullJob: it has images, not image",
		cache + "spec: {cacheSpec: [{images: []}]}":                                                           "1: reading the ImageCache: it has no images",
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
