package webhook

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"
)

// TestPinsByHand are those in a request that the one of before does not have. The registry says two.
func TestPinsByHand(t *testing.T) {
	t.Parallel()
	pin := func(digest string) string { return annotations("pin.kube-prepull.io/app", "app:latest@"+digest) }
	restarted := func(digest string) string {
		return annotations("at", "now", "pin.kube-prepull.io/app", "app:latest@"+digest)
	}
	three := strings.Replace(one, "1", "3", 64)
	owner := `,"ownerReferences":[{"apiVersion":"example.com/v1","kind":"Shop","name":"s","uid":"o","controller":true}]`
	sets := func(templates ...string) (sets []appsv1.ReplicaSet) {
		yes := true
		for _, template := range templates {
			var d appsv1.Deployment
			if err := json.Unmarshal([]byte(deploymentWith("", template, "app:latest")), &d); err != nil {
				t.Fatal(err)
			}
			owned := metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: "u", Controller: &yes}}}
			sets = append(sets, appsv1.ReplicaSet{ObjectMeta: owned, Spec: appsv1.ReplicaSetSpec{Template: d.Spec.Template}})
		}
		return sets
	}
	silent := func(string, bool) (string, error) { return "", errors.New("registry.example.com answers 500") }
	const unknown, points = "the pin of container app is not used: no earlier revision has it", "app:latest points there"
	for name, test := range map[string]struct {
		old, object, want string
		sets              []appsv1.ReplicaSet
		resolve           func(string, bool) (string, error)
		warnings          []string
	}{
		"nothing else changes":             {deploymentWith("", pin(one), "app:latest"), deploymentWith("", pin(three), "app:latest"), deploymentWith("", pin(two), "app:latest"), nil, pointsTo(two), []string{unknown}},
		"it is where the tag points":       {deploymentWith("", pin(one), "app:latest"), deploymentWith("", pin(two), "app:latest"), deploymentWith("", pin(two), "app:latest"), nil, pointsTo(two), nil},
		"the registry is silent":           {deploymentWith("", pin(one), "app:latest"), deploymentWith("", pin(three), "app:latest"), deploymentWith("", pin(one), "app:latest"), nil, silent, []string{unknown, "keeps its digest"}},
		"silent, and there was none":       {deploymentWith("", annotations("at", "then"), "app:latest"), deploymentWith("", restarted(three), "app:latest"), deploymentWith("", annotations("at", "now"), "app:latest"), nil, silent, []string{points, "stays a tag"}},
		"with a restart":                   {deploymentWith("", pin(one), "app:latest"), deploymentWith("", restarted(three), "app:latest"), deploymentWith("", restarted(two), "app:latest"), sets(pin(one), restarted(one)), pointsTo(two), []string{unknown}},
		"of an earlier revision":           {deploymentWith("", pin(one), "app:latest"), deploymentWith("", restarted(three), "app:latest"), deploymentWith("", restarted(three), "app:latest"), sets(pin(one), pin(three)), pointsTo(two), nil},
		"of one that nothing else tells":   {deploymentWith("", pin(one), "app:latest"), deploymentWith("", pin(three), "app:latest"), deploymentWith("", pin(three), "app:latest"), sets(pin(one), pin(three)), pointsTo(two), nil},
		"of a new workload":                {"", deploymentWith("", pin(three), "app:latest"), deploymentWith("", pin(two), "app:latest"), nil, pointsTo(two), []string{unknown}},
		"of a new one, as it is":           {"", deploymentWith("", pin(two), "app:latest"), deploymentWith("", pin(two), "app:latest"), nil, pointsTo(two), nil},
		"of a new one, silent":             {"", deploymentWith("", restarted(three), "app:latest"), deploymentWith("", annotations("at", "now"), "app:latest"), nil, silent, []string{unknown, "stays a tag"}},
		"of a tag that is not pinned":      {"", deploymentWith("", annotations("at", "now", "pin.kube-prepull.io/app", "app:v1@"+three), "app:v1"), deploymentWith("", annotations("at", "now"), "app:v1"), nil, pointsTo(two), []string{"is not used: no image like app:v1 is pinned here"}},
		"of a workload of somebody":        {deploymentWith(owner, pin(one), "app:latest"), deploymentWith(owner, pin(three), "app:latest"), deploymentWith(owner, pin(three), "app:latest"), nil, pointsTo(two), []string{"is used as it came, since another object controls the workload"}},
		"of a workload that is opted out":  {"", deploymentWith("", `"labels":{"kube-prepull.io/enabled":"false"},`+pin(three), "app:latest"), deploymentWith("", `"labels":{"kube-prepull.io/enabled":"false"},`+pin(three), "app:latest"), nil, pointsTo(two), nil},
		"good for another image, not this": {deploymentWith("", pin(one), "app:latest"), deploymentWith("", annotations("pin.kube-prepull.io/app", "app:v9@"+three), "app:latest"), deploymentWith("", pin(one), "app:latest"), nil, pointsTo(two), nil},
		"the registry has no such tag":     {deploymentWith("", restarted(one), "app:latest"), deploymentWith("", restarted(two), "app:latest"), deploymentWith("", restarted(two), "app:latest"), sets(restarted(two)), silent, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := rewriting(t, stored{labels: labelled.labels, sets: test.sets}, test.resolve)
			got, _, warnings := admitted(t, h, reviewOf(t, "apps", "Deployment", test.old, test.object), test.object)
			same(t, test.want, got)
			if len(warnings) != len(test.warnings) {
				t.Fatalf("warnings %q", warnings)
			}
			for i, want := range test.warnings {
				if !strings.Contains(warnings[i], want) {
					t.Errorf("the warning is %q, want %q", warnings[i], want)
				}
			}
			if _, operations, _ := admitted(t, h, reviewOf(t, "apps", "Deployment", test.old, got), got); len(operations) > 0 {
				t.Errorf("the second time: %v", operations)
			}
		})
	}
}

// Where earlier revisions cannot be read, a template is let through as it came, and whoever sent it hears that.
func TestAPinByHandWithoutRevisions(t *testing.T) {
	t.Parallel()
	pin := func(digest string) string { return annotations("pin.kube-prepull.io/app", "app:latest@"+digest) }
	object := deploymentWith("", pin(two), "app:latest")
	h := rewriting(t, stored{labels: labelled.labels, err: errors.New("no answer")}, pointsTo(one))
	got, _, warnings := admitted(t, h, reviewOf(t, "apps", "Deployment", deploymentWith("", pin(one), "app:latest"), object), object)
	same(t, object, got)
	want := []string{"kube-prepull: app:latest of container app keeps its digest: the workload's earlier revisions cannot be read"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
