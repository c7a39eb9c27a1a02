package deploy_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var (
	installedRow  = regexp.MustCompile("(?m)^\\| `([A-Z]\\w+)` \\| `([\\w.-]+)` \\|")
	permissionRow = regexp.MustCompile("(?m)^\\| ([a-z, ]+) \\| (`[^|]+`) \\|")
)

// everyValue is what the chart renders with all that can be switched on; no release has all of it at once.
var everyValue = []string{
	"dashboards.enabled=true,alerts.enabled=true,flowSchema.enabled=true,serviceMonitor.enabled=true,config.nodeCondition=true,config.gate.enabled=true",
	"podMonitor.enabled=true,podMonitor.authorization.type=Bearer,wait.enabled=true,rbac.pullSecrets=namespaces",
}

// mutatingPolicies are served by API servers from 1.36 on.
const mutatingPolicies = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"

// renderedWith has each object that the chart renders with one of the sets of values, by its kind and name.
func renderedWith(t *testing.T, sets []string) map[string]*unstructured.Unstructured {
	t.Helper()
	objects := map[string]*unstructured.Unstructured{}
	for _, values := range sets {
		for document := range strings.SplitSeq(render(t, "--set", values, "--api-versions", mutatingPolicies), "\n---\n") {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
				t.Fatal(err)
			}
			if o.Object != nil {
				objects[o.GetKind()+" "+o.GetName()] = o
			}
		}
	}
	return objects
}

// TestThePageOfWhatIsInstalled has each object that the chart renders, and no other one.
func TestThePageOfWhatIsInstalled(t *testing.T) {
	t.Parallel()
	rendered := renderedWith(t, everyValue)
	page := sectionOf(t, "## Objects of the chart")
	var listed []string
	for _, row := range installedRow.FindAllStringSubmatch(page, -1) {
		listed = append(listed, row[1]+" "+row[2])
	}
	slices.Sort(listed)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(rendered)), listed); diff != "" {
		t.Errorf("docs/installed.md (-chart +page):\n%s", diff)
	}
}

// TestThePageOfPermissions has what the managers may, and nothing else.
func TestThePageOfPermissions(t *testing.T) {
	t.Parallel()
	objects := decode(t, render(t, "--set", "config.nodeCondition=true,config.gate.enabled=true"))
	for heading, rules := range map[string][]rbacv1.PolicyRule{
		"## What the managers may in the whole cluster":   named[*rbacv1.ClusterRole](t, objects, "kube-prepull").Rules,
		"## What the managers may in their own namespace": named[*rbacv1.Role](t, objects, "kube-prepull").Rules,
	} {
		granted, listed := map[string]bool{}, map[string]bool{}
		for _, rule := range rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					granted[verb+" "+resource] = true
				}
			}
		}
		for _, row := range permissionRow.FindAllStringSubmatch(sectionOf(t, heading), -1) {
			for resource := range strings.SplitSeq(strings.ReplaceAll(row[2], "`", ""), ", ") {
				for verb := range strings.SplitSeq(row[1], ", ") {
					listed[verb+" "+resource] = true
				}
			}
		}
		if diff := cmp.Diff(granted, listed); diff != "" {
			t.Errorf("docs/installed.md, %s (-chart +page):\n%s", heading, diff)
		}
	}
}

// sectionOf the page of what is installed, from its heading to the next one.
func sectionOf(t *testing.T, heading string) string {
	t.Helper()
	_, section, found := strings.Cut(string(read(t, "../docs/installed.md")), heading+"\n")
	if !found {
		t.Fatalf("docs/installed.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}
