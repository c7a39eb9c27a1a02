package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// declarationsAreChecked: the API server says no to what no pod could have, in words that name the field and the rule.
func (w waiting) declarationsAreChecked(t *testing.T) {
	t.Helper()
	create := func(spec string) (string, error) {
		file := filepath.Join(t.TempDir(), "image.yaml")
		text := fmt.Sprintf("apiVersion: kube-prepull.io/v1alpha1\nkind: PrepullImage\nmetadata: {name: checked}\nspec: %s\n", spec)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return w.product.Kubectl(t.Context(), "create", "--dry-run=server", "--filename", file)
	}
	const image = `image: "r.test/checked:v1"`
	for spec, words := range map[string]string{
		`{image: "R.test/Checked:v1"}`:                                       "image is not one that a kubelet can pull",
		`{image: "r.test/checked v1"}`:                                       "image is not one that a kubelet can pull",
		`{image: "` + strings.Repeat("a", 64) + `"}`:                         "image is not one that a kubelet can pull",
		`{` + image + `, nodeSelector: {"a b": c}}`:                          "a key of nodeSelector is not one that a label can have",
		`{` + image + `, nodeSelector: {"": c}}`:                             "a key of nodeSelector is not one that a label can have",
		`{` + image + `, nodeSelector: {pool: "a b"}}`:                       "it is not a value that a label can have",
		`{` + image + `, tolerations: [{key: gpu, operator: Near}]}`:         `Unsupported value: "Near"`,
		`{` + image + `, tolerations: [{key: gpu, effect: Never}]}`:          `Unsupported value: "Never"`,
		`{` + image + `, tolerations: [{operator: Equal, value: a}]}`:        "operator must be Exists where key is empty",
		`{` + image + `, tolerations: [{}]}`:                                 "operator must be Exists where key is empty",
		`{` + image + `, tolerations: [{operator: Exists, value: a}]}`:       "value must be empty where operator is Exists",
		`{` + image + `, tolerations: [{key: a, tolerationSeconds: 5}]}`:     "effect must be NoExecute where tolerationSeconds is set",
		`{` + image + `, tolerations: [{key: "a b", operator: Exists}]}`:     "key is not one that a taint can have",
		`{` + image + `, tolerations: [{key: gpu, value: "a b"}]}`:           "value is not one that a taint can have",
		`{` + image + `, tolerations: [{key: gpu, operator: Gt, value: a}]}`: "value is not one that a taint can have",
	} {
		output, err := create(spec)
		if text := fmt.Sprint(output, err); err == nil || !strings.Contains(text, words) {
			t.Errorf("%s: it does not say %q: %s", spec, words, text)
		}
	}
	for _, spec := range []string{
		`{` + image + `, nodeSelector: {pool: web, example.com/zone: "", topology.kubernetes.io/zone: eu-1_a.b}}`,
		`{` + image + `, tolerations: [{operator: Exists}, {key: gpu}, {key: example.com/gpu, operator: Equal, value: "", effect: NoSchedule}]}`,
		`{` + image + `, tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 0}, {key: load, operator: Lt, value: "-5"}]}`,
	} {
		if _, err := create(spec); err != nil {
			t.Errorf("%s is refused: %v", spec, err)
		}
	}
}
