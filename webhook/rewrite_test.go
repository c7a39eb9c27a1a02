package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/webhook/audit"
	"github.com/kube-prepull/kube-prepull/webhook/pins"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Two digests.
const (
	one = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	two = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// stored is what a test's API server has: the labels of the one namespace, the revisions of workloads, and what pods run in the
// place of an image of the Deployment api.
type stored struct {
	client.Reader
	labels   map[string]string
	replaced map[string]string
	sets     []appsv1.ReplicaSet
	revision []appsv1.ControllerRevision
	err      error
}

func (s stored) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	switch o := into.(type) {
	case *metav1.PartialObjectMetadata:
		o.Labels = maps.Clone(s.labels)
	case *v1alpha1.PrepullImage:
		taken := map[string]bool{}
		for _, image := range slices.Sorted(maps.Keys(s.replaced)) {
			name, _ := workload.FreeName(image, taken)
			if taken[name] = true; name == key.Name {
				o.Spec.Image = image
				o.Status.Users = []v1alpha1.User{{Kind: "Deployment", Namespace: "shop", Name: "api", Runs: s.replaced[image]}}
				return nil
			}
		}
		return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("prepullimages").GroupResource(), key.Name)
	}
	return nil
}

func (s stored) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch list := into.(type) {
	case *appsv1.ReplicaSetList:
		list.Items = s.sets
	case *appsv1.ControllerRevisionList:
		list.Items = s.revision
	}
	return s.err
}

// rewriting is a handler for a namespace that is labelled, with registries in which each tag points to digest two.
func rewriting(t testing.TB, s stored, resolve func(image string, fresh bool) (string, error)) *handler {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	w := &rewriter{
		cached:    s,
		own:       "kube-prepull",
		labelTime: clock.Production().LabelTime,
		revisions: revisions{s},
		resolve: func(_ context.Context, _, image string, _ [][]byte, fresh bool) (string, error) {
			return resolve(image, fresh)
		},
		ifNotPresent: func(string) bool { return true },
		report:       func(audit.Unpinned) {},
		metrics:      m,
		log:          logr.Discard(),
	}
	return newHandler(func(workload.Hint) bool { return true }, w, func(_ context.Context, path string) bool { return path == testPath }, clock.Production().AdmissionTime, m, logr.Discard())
}

var labelled = stored{labels: map[string]string{v1alpha1.LabelRewrite: v1alpha1.RewriteLatest}}

func pointsTo(digest string) func(string, bool) (string, error) {
	return func(string, bool) (string, error) { return digest, nil }
}

// reviewOf is an admission; old is empty if it is a new object.
func reviewOf(t testing.TB, group, kind, old, object string) []byte {
	t.Helper()
	request := map[string]any{
		"uid": "7", "namespace": "shop", "operation": "CREATE",
		"kind": map[string]string{"group": group, "version": "v1", "kind": kind}, "object": json.RawMessage(object),
	}
	if old != "" {
		request["operation"], request["oldObject"] = "UPDATE", json.RawMessage(old)
	}
	raw, err := json.Marshal(map[string]any{"request": request})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// admitted is the object after the handler's patch, the operations of the patch, and the warnings.
func admitted(t testing.TB, h *handler, review []byte, object string) (string, []pins.Operation, []string) {
	t.Helper()
	recorder := postTo(h, testPath, review)
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || recorder.Code != 200 || !answer.Response.Allowed {
		t.Fatalf("status %d, answer %s, error %v", recorder.Code, recorder.Body, err)
	}
	if (answer.Response.Patch == nil) != (answer.Response.PatchType == nil) {
		t.Fatalf("a patch without a type or the other way around: %s", recorder.Body)
	}
	if answer.Response.Patch == nil {
		return object, nil, answer.Response.Warnings
	}
	patch, err := jsonpatch.DecodePatch(answer.Response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	result, err := patch.Apply([]byte(object))
	if err != nil {
		t.Fatalf("patch %s does not apply to %s: %v", answer.Response.Patch, object, err)
	}
	var operations []pins.Operation
	if err := json.Unmarshal(answer.Response.Patch, &operations); err != nil {
		t.Fatal(err)
	}
	return string(result), operations, answer.Response.Warnings
}

// same fails the test unless two documents say the same.
func same(t testing.TB, want, got string) {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(want), &a), json.Unmarshal([]byte(got), &b)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
}

// testPath is the one that the handlers of tests know.
const testPath = RewritePath + "/secret"

const (
	deploymentObject = `{"metadata":{"name":"api","uid":"u"%s},"spec":{"replicas":1,"selector":{"matchLabels":{"app":"api"}},"template":{"metadata":{%s},"spec":{"containers":[{"name":"app","image":"%s","new":1}]}}}}`
	podObject        = `{"metadata":{%s},"spec":{"initContainers":[{"name":"init","image":"init:latest","imagePullPolicy":"IfNotPresent"}],"containers":[{"name":"app","image":"%s","imagePullPolicy":"Always"}],"volumes":[{"name":"tmp","emptyDir":{}},{"name":"model","image":{"reference":"model","pullPolicy":"Always"}}]}}`
	ownedBySet       = `"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"api-1","uid":"r","controller":true}]`
)

func deploymentWith(metadata, template, image string) string {
	return fmt.Sprintf(deploymentObject, metadata, template, image)
}

func annotations(pairs ...string) string {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, fmt.Sprintf("%q:%q", pairs[i], pairs[i+1]))
	}
	return `"annotations":{` + strings.Join(list, ",") + `}`
}

func TestTemplatesArePinned(t *testing.T) {
	t.Parallel()
	pin := func(digest string) string { return annotations("pin.kube-prepull.io/app", "app:latest@"+digest) }
	restarted := func(digest string) string {
		return annotations("at", "now", "pin.kube-prepull.io/app", "app:latest@"+digest)
	}
	owner := `,"ownerReferences":[{"apiVersion":"example.com/v1","kind":"Shop","name":"s","uid":"o","controller":true}]`
	for name, test := range map[string]struct{ old, object, want string }{
		"a new one":                 {"", deploymentWith("", "", "app:latest"), deploymentWith("", pin(two), "app:latest")},
		"one with annotations":      {"", deploymentWith("", annotations("a/b", "c"), "app:latest"), deploymentWith("", annotations("a/b", "c", "pin.kube-prepull.io/app", "app:latest@"+two), "app:latest")},
		"one of another tag":        {"", deploymentWith("", "", "app:v1"), deploymentWith("", "", "app:v1")},
		"one that is owned":         {"", deploymentWith(owner, "", "app:latest"), deploymentWith(owner, "", "app:latest")},
		"an owned one that asks":    {"", deploymentWith(owner, `"labels":{"kube-prepull.io/rewrite":"tags"}`, "app:v1"), deploymentWith(owner, `"labels":{"kube-prepull.io/rewrite":"tags"},`+annotations("pin.kube-prepull.io/app", "app:v1@"+two), "app:v1")},
		"one that opted out":        {"", deploymentWith("", `"labels":{"kube-prepull.io/enabled":"false"}`, "app:latest"), deploymentWith("", `"labels":{"kube-prepull.io/enabled":"false"}`, "app:latest")},
		"one that does not rewrite": {"", deploymentWith("", `"labels":{"kube-prepull.io/rewrite":"off"}`, "app:latest"), deploymentWith("", `"labels":{"kube-prepull.io/rewrite":"off"}`, "app:latest")},
		"one that is being deleted": {deploymentWith("", "", "app:v1"), deploymentWith(`,"deletionTimestamp":"2026-01-01T00:00:00Z"`, "", "app:latest"), deploymentWith(`,"deletionTimestamp":"2026-01-01T00:00:00Z"`, "", "app:latest")},
		"a changed image":           {deploymentWith("", "", "app:v1"), deploymentWith("", "", "app:latest"), deploymentWith("", pin(two), "app:latest")},
		"an unchanged one":          {deploymentWith("", "", "app:latest"), deploymentWith("", "", "app:latest"), deploymentWith("", "", "app:latest")},
		"a pin that was dropped":    {deploymentWith("", pin(one), "app:latest"), deploymentWith("", "", "app:latest"), deploymentWith("", pin(one), "app:latest")},
		"a restart":                 {deploymentWith("", pin(one), "app:latest"), deploymentWith("", restarted(one), "app:latest"), deploymentWith("", restarted(two), "app:latest")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := rewriting(t, labelled, pointsTo(two))
			got, _, warnings := admitted(t, h, reviewOf(t, "apps", "Deployment", test.old, test.object), test.object)
			same(t, test.want, got)
			if warnings != nil {
				t.Errorf("warnings %q", warnings)
			}
			again, operations, _ := admitted(t, h, reviewOf(t, "apps", "Deployment", test.old, got), got)
			if len(operations) > 0 {
				t.Errorf("the second time it becomes %s", again)
			}
		})
	}
}

// An image that pods are known to have another one in the place of is not asked for.
func TestAReplacedImageIsNotPinned(t *testing.T) {
	t.Parallel()
	restarted := deploymentWith("", annotations("at", "now"), "auto")
	pinned := annotations("at", "now", "pin.kube-prepull.io/app", "auto@"+one)
	for name, test := range map[string]struct {
		replaced map[string]string
		object   string
		asked    bool
	}{
		"nothing is known of it":     {nil, restarted, true},
		"pods have another":          {map[string]string{"auto": "proxy:v1"}, restarted, false},
		"in the place of its digest": {map[string]string{"auto@" + one: "proxy:v1"}, deploymentWith("", pinned, "auto"), false},
		"known by a longer name":     {map[string]string{"r1791.test/a": "", "r44621.test/a": "proxy:v1"}, deploymentWith("", annotations("at", "now"), "r44621.test/a"), false},
		"in that of another digest":  {map[string]string{"auto@" + two: "proxy:v1"}, deploymentWith("", pinned, "auto"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := labelled
			s.replaced = test.replaced
			asked := false
			h := rewriting(t, s, func(string, bool) (string, error) { asked = true; return "", errors.New("no such image") })
			_, operations, warnings := admitted(t, h, reviewOf(t, "apps", "Deployment", strings.Replace(test.object, `"at":"now"`, `"at":"then"`, 1), test.object), test.object)
			if asked != test.asked || len(warnings) > 0 != test.asked || len(operations) > 0 {
				t.Errorf("asked: %t, warnings %q, patch %v", asked, warnings, operations)
			}
		})
	}
}

func TestARollbackIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	pin := annotations("pin.kube-prepull.io/app", "app:latest@"+one)
	back := deploymentWith("", `"labels":{"app":"api"},`+pin, "app:latest")
	newer := deploymentWith("", `"labels":{"app":"api"},`+annotations("at", "now", "pin.kube-prepull.io/app", "app:latest@"+one), "app:latest")
	var parsed appsv1.Deployment
	if err := json.Unmarshal([]byte(back), &parsed); err != nil {
		t.Fatal(err)
	}
	yes := true
	owned := metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: "u", Controller: &yes}}}
	template := parsed.Spec.Template
	set := appsv1.ReplicaSet{ObjectMeta: owned, Spec: appsv1.ReplicaSetSpec{Template: *template.DeepCopy()}}
	set.Spec.Template.Labels["pod-template-hash"] = "1"
	raw, err := json.Marshal(map[string]any{"spec": map[string]any{"template": template}})
	if err != nil {
		t.Fatal(err)
	}
	revision := appsv1.ControllerRevision{ObjectMeta: owned}
	revision.Data.Raw = raw
	foreign := *set.DeepCopy()
	foreign.OwnerReferences[0].UID = "other"

	for name, test := range map[string]struct {
		kind   string
		stored stored
		want   bool // it is left
	}{
		"a Deployment with that ReplicaSet":            {"Deployment", stored{sets: []appsv1.ReplicaSet{set}}, true},
		"a Deployment without it":                      {"Deployment", stored{}, false},
		"a Deployment with another's":                  {"Deployment", stored{sets: []appsv1.ReplicaSet{foreign}}, false},
		"a Deployment whose revisions cannot be known": {"Deployment", stored{err: errors.New("no answer")}, true},
		"a StatefulSet with that ControllerRevision":   {"StatefulSet", stored{revision: []appsv1.ControllerRevision{revision}}, true},
		"a DaemonSet without it":                       {"DaemonSet", stored{sets: []appsv1.ReplicaSet{set}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.stored.labels = labelled.labels
			_, operations, _ := admitted(t, rewriting(t, test.stored, pointsTo(two)), reviewOf(t, "apps", test.kind, newer, back), back)
			if got := len(operations) == 0; got != test.want {
				t.Errorf("left: %t, want %t: %v", got, test.want, operations)
			}
		})
	}
}

func TestPodsAreRewritten(t *testing.T) {
	t.Parallel()
	rewritten := func(metadata, app string) string {
		return strings.NewReplacer(`"init:latest"`, `"init@`+two+`"`, `"model"}`, `"model"}`, `"reference":"model"`, `"reference":"model@`+two+`"`,
			`"Always"`, `"IfNotPresent"`).Replace(fmt.Sprintf(podObject, metadata, app))
	}
	all := annotations("kube-prepull.io/rewritten", "init=init:latest,app=app,volume/model=model")
	withPins := func(more ...string) string {
		return ownedBySet + "," + annotations(append([]string{"pin.kube-prepull.io/app", "app@" + one}, more...)...)
	}
	pinned := strings.Replace(fmt.Sprintf(podObject, withPins("kube-prepull.io/rewritten", "app=app"), "app@"+one), `"Always"`, `"IfNotPresent"`, 1)
	unknown := `"ownerReferences":[{"apiVersion":"postgresql.cnpg.io/v1","kind":"Cluster","name":"db","uid":"c","controller":true}],` + annotations("pin.kube-prepull.io/app", "app@"+one)
	notApps := strings.Replace(withPins(), "apps/v1", "example.com/v1", 1)
	for name, test := range map[string]struct{ object, want string }{
		"a bare one":                       {fmt.Sprintf(podObject, "", "app"), rewritten(all, "app@"+two)},
		"one of a pinned revision":         {fmt.Sprintf(podObject, withPins(), "app"), pinned},
		"one of a revision without pins":   {fmt.Sprintf(podObject, ownedBySet, "app"), fmt.Sprintf(podObject, ownedBySet, "app")},
		"one whose pin is for another":     {fmt.Sprintf(podObject, withPins(), "app:v2"), fmt.Sprintf(podObject, withPins(), "app:v2")},
		"one of an unknown controller":     {fmt.Sprintf(podObject, unknown, "app"), fmt.Sprintf(podObject, unknown, "app")},
		"one of another kind of that name": {fmt.Sprintf(podObject, notApps, "app"), fmt.Sprintf(podObject, notApps, "app")},
		"one that was rewritten": {
			fmt.Sprintf(podObject, withPins("kube-prepull.io/rewritten", "app=app"), "app"), fmt.Sprintf(podObject, withPins("kube-prepull.io/rewritten", "app=app"), "app"),
		},
		"one that somebody owns who does not control it": {
			fmt.Sprintf(podObject, strings.Replace(ownedBySet, `,"controller":true`, "", 1), "app"), fmt.Sprintf(podObject, strings.Replace(ownedBySet, `,"controller":true`, "", 1), "app"),
		},
		"a static one": {
			fmt.Sprintf(podObject, annotations("kubernetes.io/config.mirror", "x"), "app"), fmt.Sprintf(podObject, annotations("kubernetes.io/config.mirror", "x"), "app"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := rewriting(t, labelled, pointsTo(two))
			got, _, _ := admitted(t, h, reviewOf(t, "", "Pod", "", test.object), test.object)
			same(t, test.want, got)
			if _, operations, _ := admitted(t, h, reviewOf(t, "", "Pod", "", got), got); len(operations) > 0 {
				t.Errorf("the second time: %v", operations)
			}
		})
	}
}

// A pod has its image in no other place than its spec, so whoever applies it again sends the tag.
func TestAPodThatIsAppliedAgainStaysAsItIs(t *testing.T) {
	t.Parallel()
	h := rewriting(t, labelled, pointsTo(two))
	applied := fmt.Sprintf(podObject, annotations("team", "a"), "app")
	stored, _, _ := admitted(t, h, reviewOf(t, "", "Pod", "", applied), applied)
	got, _, _ := admitted(t, rewriting(t, labelled, pointsTo(one)), reviewOf(t, "", "Pod", stored, applied), applied)
	same(t, stored, got)

	changed := strings.Replace(applied, `"image":"app"`, `"image":"app:v2"`, 1)
	want := strings.Replace(stored, "app@"+two, "app:v2", 1)
	got, _, _ = admitted(t, h, reviewOf(t, "", "Pod", stored, changed), changed)
	same(t, want, got)

	// Back from there to the tag: what the pod runs is another image, which is not kept in its place.
	live := want
	want = strings.Replace(stored, "app@"+two, "app", 1)
	got, _, _ = admitted(t, h, reviewOf(t, "", "Pod", live, applied), applied)
	same(t, want, got)
}

// Without the earlier revisions nobody knows whether a template is new, and who sent it hears that.
func TestWithoutRevisionsPersonsAreWarned(t *testing.T) {
	t.Parallel()
	unknown := stored{labels: labelled.labels, err: errors.New("no answer")}
	pin := annotations("pin.kube-prepull.io/app", "app:v2@"+one)
	object := deploymentWith("", pin, "app:latest")
	var reported []audit.Unpinned
	h := rewriting(t, unknown, pointsTo(two))
	h.rewriter.report = func(u audit.Unpinned) { reported = append(reported, u) }
	got, _, warnings := admitted(t, h, reviewOf(t, "apps", "Deployment", deploymentWith("", pin, "app:v2"), object), object)
	same(t, object, got)
	want := []string{"kube-prepull: app:latest of container app stays a tag: the workload's earlier revisions cannot be read"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if len(reported) != 1 || reported[0].Image != "app:latest" {
		t.Errorf("reported %v", reported)
	}

	pin = annotations("pin.kube-prepull.io/app", "app:latest@"+one)
	restarted := deploymentWith("", annotations("at", "now", "pin.kube-prepull.io/app", "app:latest@"+one), "app:latest")
	got, _, warnings = admitted(t, h, reviewOf(t, "apps", "Deployment", deploymentWith("", pin, "app:latest"), restarted), restarted)
	same(t, restarted, got)
	if len(warnings) != 1 || !strings.Contains(warnings[0], "keeps its digest") || len(reported) != 1 {
		t.Errorf("warnings %q, reported %v", warnings, reported)
	}
}

// A forged review has room for a hundred thousand containers, among which each would be looked for.
func TestATemplateOfTooManyContainersIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"containers", "initContainers", "volumes"} {
		for many, want := range map[int]bool{pins.MaxContainers: true, pins.MaxContainers + 1: false} {
			var all []string
			for i := range many {
				image := `"image":"app"`
				if list == "volumes" {
					image = `"image":{"reference":"app"}`
				}
				all = append(all, fmt.Sprintf(`{"name":"c%d",%s}`, i, image))
			}
			object := fmt.Sprintf(`{"metadata":{"name":"api"},"spec":{"template":{"spec":{%q:[%s]}}}}`, list, strings.Join(all, ","))
			asked := false
			h := rewriting(t, labelled, func(string, bool) (string, error) { asked = true; return two, nil })
			admitted(t, h, reviewOf(t, "apps", "Deployment", "", object), object)
			if asked != want {
				t.Errorf("%d %s: asked %t, want %t", many, list, asked, want)
			}
		}
	}
}

func TestWithoutAnAnswerPersonsAreWarned(t *testing.T) {
	t.Parallel()
	silent := func(string, bool) (string, error) { return "", errors.New("registry.example.com answers 500") }
	object := deploymentWith("", "", "app:latest")
	got, _, warnings := admitted(t, rewriting(t, labelled, silent), reviewOf(t, "apps", "Deployment", "", object), object)
	same(t, object, got)
	want := []string{"kube-prepull: app:latest of container app stays a tag: registry.example.com answers 500"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	pin := annotations("pin.kube-prepull.io/app", "app:latest@"+one)
	restarted := deploymentWith("", annotations("at", "now", "pin.kube-prepull.io/app", "app:latest@"+one), "app:latest")
	got, _, warnings = admitted(t, rewriting(t, labelled, silent), reviewOf(t, "apps", "Deployment", deploymentWith("", pin, "app:latest"), restarted), restarted)
	same(t, restarted, got)
	if len(warnings) != 1 || !strings.Contains(warnings[0], "keeps its digest") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestAPanicBehindTheHandlerIsSurvived(t *testing.T) {
	t.Parallel()
	object := deploymentWith("", "", "app:latest")
	h := rewriting(t, labelled, func(string, bool) (string, error) { panic("a bug") })
	got, _, _ := admitted(t, h, reviewOf(t, "apps", "Deployment", "", object), object)
	same(t, object, got)
}

func TestOnlyLabelledNamespacesArePinned(t *testing.T) {
	t.Parallel()
	object := deploymentWith("", "", "app:latest")
	asked := func(string, bool) (string, error) { t.Error("a registry was asked"); return two, nil }
	for _, labels := range []map[string]string{nil, {v1alpha1.LabelEnabled: "true"}, {v1alpha1.LabelRewrite: "all"}} {
		got, _, _ := admitted(t, rewriting(t, stored{labels: labels}, asked), reviewOf(t, "apps", "Deployment", "", object), object)
		same(t, object, got)
	}
	inOurs := strings.Replace(string(reviewOf(t, "apps", "Deployment", "", object)), `"shop"`, `"kube-prepull"`, 1)
	got, _, _ := admitted(t, rewriting(t, labelled, asked), []byte(inOurs), object)
	same(t, object, got)
}
