package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// exampleBlock is a YAML block of a page, and the indentation that it has in a list.
var exampleBlock = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```")

// foreignKinds are kinds of other projects in examples, with the fields that we know of them; nil if we know none.
var foreignKinds = map[string]func() any{
	"karpenter.sh/v1 NodePool":                           func() any { return &nodePool{} },
	"kubelet.config.k8s.io/v1beta1 KubeletConfiguration": func() any { return &kubeletConfiguration{} },
	"readiness.node.x-k8s.io/v1alpha1 NodeReadinessRule": func() any { return &nodeReadinessRule{} },
	"kustomize.toolkit.fluxcd.io/v1 Kustomization":       func() any { return &kustomization{} },
	"argoproj.io/v1alpha1 Application":                   nil,
	"helm.toolkit.fluxcd.io/v2 HelmRelease":              nil,
	"kubefledged.io/v1alpha2 ImageCache":                 nil,
}

// TestTheExamplesOfTheDocs reads every YAML block of all pages: objects and parts of pods strictly, values as Helm does.
// What is neither says in its first line what it is. docs/autoscalers.md has a test of its own.
func TestTheExamplesOfTheDocs(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, page := range pages(t) {
		if filepath.Base(page) == "autoscalers.md" {
			continue
		}
		for _, match := range exampleBlock.FindAllStringSubmatch(string(read(t, page)), -1) {
			var example strings.Builder
			for line := range strings.Lines(match[2]) {
				example.WriteString(strings.TrimPrefix(line, match[1]))
			}
			checkExample(t, page, example.String())
			checked++
		}
	}
	if checked < 20 {
		t.Errorf("%d examples were found: the pages have more", checked)
	}
}

// TestNodesRegisterWithTheKeyOfTheGate: two keys leave nodes tainted for ever, so on each page nodes register with that of the values
// before them, which is the default if there are none.
func TestNodesRegisterWithTheKeyOfTheGate(t *testing.T) {
	t.Parallel()
	pools := 0
	for _, page := range pages(t) {
		if filepath.Base(page) == "autoscalers.md" {
			continue
		}
		key := v1alpha1.TaintWarming
		for _, match := range fenced.FindAllStringSubmatch(string(read(t, page)), -1) {
			example := match[1]
			if strings.HasPrefix(example, "# values of the chart") && strings.Contains(example, "gate:") {
				key = gateOfValues(t, example).TaintKey
			}
			var kind metav1.TypeMeta
			if err := yaml.Unmarshal([]byte(example), &kind); err != nil {
				continue // one in a list, which the test above reads
			}
			var nodes tainted
			switch kind.Kind {
			case "NodePool":
				nodes = &nodePool{}
			case "KubeletConfiguration":
				nodes = &kubeletConfiguration{}
			default:
				continue
			}
			if err := yaml.UnmarshalStrict([]byte(example), nodes); err != nil {
				t.Errorf("%s: %v", page, err)
			}
			pools++
			if diff := cmp.Diff([]corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}}, nodes.startupTaints()); diff != "" {
				t.Errorf("%s: taints (-gate +nodes):\n%s", page, diff)
			}
		}
	}
	if pools < 2 {
		t.Errorf("%d examples of nodes were found: the pages have more", pools)
	}
}

// pages are the Markdown files of the project.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, files...)
	}
	return found
}

func checkExample(t *testing.T, page, example string) {
	t.Helper()
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(example), &kind); err != nil {
		t.Errorf("%s: %v:\n%s", page, err, example)
		return
	}
	var err error
	switch first, _, _ := strings.Cut(example, "\n"); {
	case kind.Kind != "":
		err = decodeKind(kind, example)
	case first == "# values of the chart":
		checkValues(t, page, example)
	case first == "# in a pod template":
		err = yaml.UnmarshalStrict([]byte(example), &corev1.PodTemplateSpec{})
	case first == "# in the spec of a pod template":
		err = yaml.UnmarshalStrict([]byte(example), &corev1.PodSpec{})
	case first == "# in a pod":
		err = yaml.UnmarshalStrict([]byte(example), &corev1.Pod{})
	case first == "# in the configuration of Prometheus":
	default:
		t.Errorf("%s: nothing says what this is:\n%s", page, example)
	}
	if err != nil {
		t.Errorf("%s: %v:\n%s", page, err, example)
	}
}

// decodeKind reads an object as the API server does, or as far as its kind is known.
func decodeKind(kind metav1.TypeMeta, example string) error {
	if foreign, ok := foreignKinds[kind.APIVersion+" "+kind.Kind]; ok {
		if foreign == nil {
			return nil
		}
		return yaml.UnmarshalStrict([]byte(example), foreign())
	}
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(known); err != nil {
			return err
		}
	}
	_, _, err := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer().Decode([]byte(example), nil, nil)
	return err
}

// checkValues renders the chart with an example.
func checkValues(t *testing.T, page, example string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := helm(t, "template", "kube-prepull", "chart", "--namespace", "kube-prepull", "--values", file); err != nil {
		t.Errorf("%s: %v: %s:\n%s", page, err, out, example)
	}
}
