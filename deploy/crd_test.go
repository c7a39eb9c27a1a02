package deploy_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// specOf is the schema of the spec of a PrepullImage.
func specOf(t *testing.T) apiextensionsv1.JSONSchemaProps {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(read(t, "chart/files/crds/kube-prepull.io_prepullimages.yaml"), &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
}

// matched is an expression that the rules of a schema match against; API servers use the same package for them.
var matched = regexp.MustCompile(`matches\('([^']+)'\)`)

// expressions are those of the rules of a schema, in their order.
func expressions(t *testing.T, schema apiextensionsv1.JSONSchemaProps, want int) []*regexp.Regexp {
	t.Helper()
	var found []*regexp.Regexp
	for _, rule := range schema.XValidations {
		for _, match := range matched.FindAllStringSubmatch(rule.Rule, -1) {
			found = append(found, regexp.MustCompile(match[1]))
		}
	}
	if len(found) != want {
		t.Fatalf("there are %d expressions, want %d: %+v", len(found), want, schema.XValidations)
	}
	return found
}

// strange are strings that are next to what is allowed, and some of what is.
func strange(random *rand.Rand) string {
	parts := []string{
		"a", "B", "9", "app", "registry.test", "localhost", ":", ":5000", "/", ".", "-", "_", "__", "--", "@", " ", "", "[::1]", "v1", "LATEST", "ä", "\n",
		"@sha256:", "@sha512:", "@md5:", strings.Repeat("a", 32), strings.Repeat("0", 64), strings.Repeat("f", 63), strings.Repeat("b", 253), "${TAG}", "kubernetes.io",
	}
	var b strings.Builder
	for range 1 + random.IntN(7) {
		b.WriteString(parts[random.IntN(len(parts))])
	}
	return b.String()
}

// What the API server refuses as an image is what the kubelet refuses, with the one exception that a name may be too long.
func TestTheAPIServerTakesTheImagesOfKubelets(t *testing.T) {
	t.Parallel()
	image := specOf(t).Properties["image"]
	rule := expressions(t, image, 2)
	takes := func(s string) bool { return s != "" && rule[0].MatchString(s) && !rule[1].MatchString(s) }
	check := func(s string) bool {
		err := workload.ValidImage(s)
		tooLong := err != nil && strings.Contains(err.Error(), "must not be more than")
		if takes(s) != (err == nil) && !tooLong && len(s) <= workload.MaxImageLength {
			t.Errorf("%q is taken: %t, and a kubelet says %v", s, takes(s), err)
		}
		return err == nil
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	for s, want := range map[string]bool{
		"nginx": true, "nginx:1.27": true, "docker.io/library/nginx": true, "localhost:5000/a/b__c/d---e:v_1": true, "Registry.test/app": true, "[::1]:5000/app": true,
		"app@" + digest: true, "app:v1@" + digest: true, "app@sha512:" + strings.Repeat("b", 128): true,
		"": false, "App": false, "app ": false, " app": false, "app:": false, "app:v1:v2": false, "app@sha256:abc": false, "app@" + strings.ToUpper(digest): false,
		"app@md5:" + strings.Repeat("a", 32): false, strings.Repeat("a", 64): false, "https://registry.test/app": false, "a//b": false, "${IMAGE}": false, "app:" + strings.Repeat("a", 129): false, "app\n": false,
	} {
		if check(s) != want {
			t.Errorf("%q is an image: %t", s, !want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	valid := 0
	for range 50_000 {
		if check(strange(random)) {
			valid++
		}
	}
	if valid < 1000 {
		t.Errorf("%d of the strings were images", valid)
	}
}

// The same for labels and taints, which are as Kubernetes has them.
func TestTheAPIServerTakesTheLabelsOfKubernetes(t *testing.T) {
	t.Parallel()
	spec := specOf(t)
	toleration := *spec.Properties["tolerations"].Items.Schema
	selector := spec.Properties["nodeSelector"]
	value := *selector.AdditionalProperties.Schema
	isKey := func(s string) bool { return len(validation.IsQualifiedName(s)) == 0 }
	isValue := func(s string) bool { return len(validation.IsValidLabelValue(s)) == 0 }
	if *value.MaxLength != int64(validation.LabelValueMaxLength) || *toleration.Properties["value"].MaxLength != int64(validation.LabelValueMaxLength) {
		t.Error("a value may have another length than that of a label")
	}
	const maxKey = validation.DNS1123SubdomainMaxLength + len("/") + 63
	if !strings.Contains(selector.XValidations[0].Rule, fmt.Sprintf("key.size() <= %d", maxKey)) || *toleration.Properties["key"].MaxLength != int64(maxKey) {
		t.Error("a key may have another length than that of a label")
	}
	random := rand.New(rand.NewPCG(3, 4))
	for name, test := range map[string]struct {
		expression *regexp.Regexp
		longest    int
		is         func(string) bool
	}{
		"a key of nodeSelector":   {expressions(t, selector, 1)[0], maxKey, isKey},
		"a value of nodeSelector": {expressions(t, value, 1)[0], validation.LabelValueMaxLength, isValue},
		"a key of tolerations":    {expressions(t, toleration.Properties["key"], 1)[0], maxKey, isKey},
	} {
		valid := 0
		for range 20_000 {
			s := strange(random)
			prefix, _, _ := strings.Cut(s, "/")
			if len(s) > test.longest || len(prefix) > validation.DNS1123SubdomainMaxLength {
				continue
			}
			if got, want := test.expression.MatchString(s), test.is(s); got != want {
				t.Errorf("%s: %q is taken: %t, and Kubernetes takes it: %t", name, s, got, want)
			} else if want {
				valid++
			}
		}
		if valid < 500 {
			t.Errorf("%s: %d of the strings are taken", name, valid)
		}
	}
}
