package generate

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// folderOf has these files.
func folderOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// generated is what the command prints for what is piped in, its messages without the folder of the test, and its exit code.
func generated(t *testing.T, dir, input string, args ...string) (images []string, messages string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	env := cli.NewEnvironment(genericiooptions.IOStreams{In: strings.NewReader(input), Out: &out, ErrOut: &errOut})
	c := Command(env)
	c.SetErr(&errOut)
	code = cli.Execute(t.Context(), c, args)
	if messages = errOut.String(); dir != "" {
		messages = strings.ReplaceAll(messages, dir, "DIR")
	}
	return strings.Fields(out.String()), messages, code
}

const podFile = "kind: Pod\nspec: {containers: [{name: a, image: a:1}]}\n"

func TestAFileThatIsNoObjectTakesNothingWithIt(t *testing.T) {
	t.Parallel()
	utf16 := "\xff\xfe" + strings.Join(strings.Split(strings.Replace(podFile, "a:1", "u:1", 1), ""), "\x00") + "\x00"
	for name, test := range map[string]struct {
		file, text string
		images     []string
		note       string
	}{
		"a JSON patch":         {"p.yaml", "- op: replace\n  path: /a\n", []string{"a:1"}, "note: DIR/p.yaml:1: this is not a Kubernetes object\n"},
		"a scalar":             {"p.yaml", "hello\n", []string{"a:1"}, "note: DIR/p.yaml:1: this is not a Kubernetes object\n"},
		"a chart's template":   {"templates/p.yaml", "kind: Pod\nspec:\n  {{- toYaml . }}\n", []string{"a:1"}, "note: DIR/templates/p.yaml:3: this is a template that is not rendered: pipe the output of `helm template` in\n"},
		"broken YAML":          {"p.yaml", podFile + "---\na: b: c\n", []string{"a:1"}, "note: DIR/p.yaml:4: this is not YAML: mapping values are not allowed in this context\n"},
		"no text":              {"p.json", "a\x00b", []string{"a:1"}, "note: DIR/p.json is not a text file\n"},
		"values of a chart":    {"values.yaml", "image: b:1\n", []string{"a:1"}, "note: DIR/values.yaml:1: this object has no kind: for a values file of Helm there is --helm-values\n"},
		"UTF-16 of PowerShell": {"p.yaml", utf16, []string{"a:1", "u:1"}, ""},
		"a key twice":          {"p.yaml", "kind: Pod\nkind: Pod\nspec: {containers: [{image: b:1}]}\n", []string{"a:1", "b:1"}, "note: DIR/p.yaml:1: the key \"kind\" is there twice, and the last one counts here; kubectl apply refuses it\n"},
		"no image":             {"p.yaml", "kind: Pod\nspec: {initContainers: [{name: i}], containers: [{image: b:1}]}\n", []string{"a:1", "b:1"}, "note: DIR/p.yaml:1: Pod: container \"i\" has no image\n"},
		"a wrong field":        {"p.yaml", "kind: Pod\nspec: {containers: [{image: b:1, ports: [{containerPort: \"80\"}]}]}\n", []string{"a:1"}, "note: DIR/p.yaml:1: Pod: its pod template cannot be read: spec.containers.ports.containerPort is a string, which does not fit there\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folderOf(t, map[string]string{"a.yaml": podFile, test.file: test.text})
			images, messages, code := generated(t, dir, "", "-f", dir)
			if code != 0 || !slices.Equal(images, test.images) || messages != test.note {
				t.Errorf("it ends with %d and prints %q\n%s", code, images, messages)
			}
			images, _, code = generated(t, dir, "", "-f", dir, "--strict")
			if strict := test.note == "" || strings.Contains(test.note, "twice"); (code == 0) != strict || (len(images) > 0) != strict {
				t.Errorf("--strict ends with %d and prints %q", code, images)
			}
		})
	}
}

func TestFilesAreGivenWithAFlag(t *testing.T) {
	t.Parallel()
	_, messages, code := generated(t, "", "", "c1.yaml")
	if want := "error: \"c1.yaml\" is given without a flag: files and folders are named with -f, as in -f c1.yaml\nSee 'generate --help'.\n"; code != 2 || messages != want {
		t.Errorf("it ends with %d and prints\n%s", code, messages)
	}
}

func TestAPlaceholderStopsNothingElse(t *testing.T) {
	t.Parallel()
	for image, why := range map[string]string{
		`" "`:                                 `image " ": the image cannot be parsed`,
		"${X}":                                `image "${X}": the image cannot be parsed`,
		"<image>":                             `image "<image>": the image cannot be parsed`,
		"ko://example.com/cmd":                `image "ko://example.com/cmd": the image cannot be parsed`,
		`"{{ .Values.image }}"`:               `image "{{ .Values.image }}": this is a template that is not rendered`,
		"auto":                                `the image "auto" is left out: an injector puts another one there`,
		"n:1\n        imagePullPolicy: Never": "",
	} {
		text := "kind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - image: b:1\n      - image: " + image + "\n"
		images, messages, code := generated(t, "", text, "-f", "-")
		if code != 0 || !slices.Equal(images, []string{"b:1"}) || !strings.Contains(messages, why) {
			t.Errorf("%s ends with %d and prints %q\n%s", image, code, images, messages)
		}
		if strings.Contains(why, "parsed") && image != `" "` && !strings.HasPrefix(messages, "note: standard input:7: Deployment: ") {
			t.Errorf("%s: the place is wrong: %s", image, messages)
		}
	}
}

func TestNothingFoundIsAnErrorInEveryFormat(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"list", "daemonset", "prepullimages", "bash-ctr", "cloud-init"} {
		for name, test := range map[string]struct {
			input, want string
			args        []string
		}{
			"values without a tag": {"image: {repository: org/a}", "there is no whole image in standard input", []string{"--helm-values", "-"}},
			"values without any":   {"a: 1", "helm template NAME CHART --values FILE | kubectl prepull generate -f -", []string{"--helm-values", "-"}},
			"pods without images":  {"kind: Pod\nspec: {containers: [{name: a}]}", "standard input:1: Pod: container \"a\" has no image", []string{"-f", "-"}},
			"pods that are none":   {"kind: Pod\nspec: {initContainers: [], containers: []}", "there is no image to pull in standard input", []string{"-f", "-"}},
			"no pods":              {"kind: Service", "there is no workload in standard input", []string{"-f", "-"}},
			"all for Windows":      {"kind: Pod\nspec: {os: {name: windows}, containers: [{image: a:1}]}", "note: Pod is left out: its pods run on windows", []string{"-f", "-"}},
		} {
			images, messages, code := generated(t, "", test.input, append(test.args, "--format", format)...)
			if code != 1 || len(images) > 0 || !strings.Contains(messages, test.want) {
				t.Errorf("%s as %s ends with %d and prints %q\n%s", name, format, code, images, messages)
			}
		}
	}
}

func TestWhereManifestsAre(t *testing.T) {
	t.Parallel()
	dir := folderOf(t, map[string]string{"real/a.yaml": podFile, "other/b.yaml": "kind: Service\nmetadata: {name: b}\n", "other/c.yaml": "kind: Secret\n"})
	for link, target := range map[string]string{"link": "real", "other/folder": "../real", "other/file.yaml": "../real/a.yaml"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		path   string
		images []string
		want   string
		code   int
	}{
		"a folder that is a link":     {dir + "/link", []string{"a:1"}, "", 0},
		"links in a folder":           {dir + "/other", []string{"a:1"}, "note: DIR/other/folder is left out: it is a link to a folder\n", 0},
		"an address":                  {"https://x.test/a.yaml", nil, "error: https://x.test/a.yaml is not fetched: pipe it in, curl -fsSL https://x.test/a.yaml | kubectl prepull generate -f -\n", 1},
		"a file that is not there":    {dir + "/none.yaml", nil, "error: reading manifests: stat DIR/none.yaml: no such file or directory\n", 1},
		"a file without any workload": {dir + "/other/b.yaml", nil, "error: there is no workload in DIR/other/b.yaml: no pods come of Service b\n", 1},
	} {
		images, messages, code := generated(t, dir, "", "-f", test.path)
		if code != test.code || !slices.Equal(images, test.images) || messages != test.want {
			t.Errorf("%s ends with %d and prints %q\n%s", name, code, images, messages)
		}
	}
	if err := os.Remove(filepath.Join(dir, "other/file.yaml")); err != nil {
		t.Fatal(err)
	}
	_, messages, _ := generated(t, dir, "", "-f", dir+"/other")
	if diff := cmp.Diff("note: DIR/other/folder is left out: it is a link to a folder\nerror: there is no workload in DIR/other: no pods come of Secret, Service b\n", messages); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
