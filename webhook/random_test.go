package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

// dice make random pods and workloads, with fields that no library knows.
type dice struct{ *rand.Rand }

func (d dice) one(of ...string) string { return of[d.IntN(len(of))] }

func (d dice) yes() bool { return d.IntN(2) == 0 }

func (d dice) image() string {
	return d.one("app", "app:latest", "app:v1", "localhost:5000/app", "registry.example.com/team/app:latest", "docker.io/library/nginx:latest",
		"app@"+one, "app:v1@"+two, "UPPER:latest", "", "a b", "unknown/app:latest", "broken/app:latest")
}

// unknown is a value that means nothing to anybody.
func (d dice) unknown(depth int) any {
	switch d.IntN(5) {
	case 0:
		return json.Number(d.one("0", "1e400", "9007199254740993", "-0.5"))
	case 1:
		return d.one("", `"quoted" \ and <html>`, "\u2028", "image", "pin.kube-prepull.io/a")
	case 2:
		return nil
	case 3:
		if depth == 0 {
			return []any{}
		}
		return []any{d.unknown(depth - 1), d.unknown(depth - 1)}
	}
	if depth == 0 {
		return map[string]any{}
	}
	return map[string]any{d.one("image", "containers", "metadata", "a/b~c", ""): d.unknown(depth - 1), "x": d.unknown(depth - 1)}
}

// members adds to an object what is there by chance.
func (d dice) members(object map[string]any) map[string]any {
	for range d.IntN(3) {
		object[d.one("future", "x", "image-like", "zz")] = d.unknown(2)
	}
	return object
}

func (d dice) containers(names ...string) []any {
	list := []any{}
	for _, name := range names[:d.IntN(len(names)+1)] {
		c := d.members(map[string]any{"name": name})
		if d.IntN(10) > 0 {
			c["image"] = d.image()
		}
		if d.IntN(10) > 0 {
			c["imagePullPolicy"] = d.one("Always", "IfNotPresent", "Never")
		}
		list = append(list, c)
	}
	return list
}

func (d dice) spec() map[string]any {
	spec := d.members(map[string]any{"containers": d.containers("a", "b", "sidecar")})
	if d.yes() {
		spec["initContainers"] = d.containers("init", "proxy")
	}
	if d.yes() {
		spec["volumes"] = []any{
			d.members(map[string]any{"name": "tmp", "emptyDir": map[string]any{}}),
			map[string]any{"name": "model", "image": d.members(map[string]any{"reference": d.image(), "pullPolicy": d.one("Always", "IfNotPresent", "Never")})},
		}
	}
	return spec
}

func (d dice) annotations() map[string]any {
	list := d.members(map[string]any{})
	delete(list, "zz")
	for _, name := range []string{"a", "b", "gone"} {
		if d.IntN(3) == 0 {
			list[v1alpha1.AnnotationPin+name] = d.one(d.image(), v1alpha1.Pin(d.image(), one), v1alpha1.Pin(d.image(), two))
		}
	}
	if d.IntN(4) == 0 {
		list[v1alpha1.AnnotationVolumePin+"model"] = v1alpha1.Pin(d.image(), one)
	}
	for key, value := range list {
		if _, text := value.(string); !text {
			list[key] = "text" // annotations are
		}
	}
	return list
}

func (d dice) template() map[string]any {
	t := d.members(map[string]any{"spec": d.spec()})
	switch d.IntN(4) {
	case 0:
	case 1:
		t["metadata"] = d.members(map[string]any{})
	case 2:
		t["metadata"] = map[string]any{"annotations": nil, "labels": map[string]any{"app": "a"}}
	default:
		t["metadata"] = d.members(map[string]any{"annotations": d.annotations()})
	}
	if d.IntN(20) == 0 {
		t["metadata"] = map[string]any{"labels": map[string]any{v1alpha1.LabelEnabled: "false"}}
	}
	return t
}

func (d dice) owners(pod bool) map[string]any {
	metadata := map[string]any{"uid": "u"}
	owner := map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}
	switch {
	case pod && d.yes():
		metadata["ownerReferences"] = []any{owner}
	case d.IntN(8) == 0:
		owner["apiVersion"], owner["kind"] = "example.com/v1", "Shop"
		metadata["ownerReferences"] = []any{owner}
	}
	return metadata
}

// object is a random one of a kind.
func (d dice) object(kind string) map[string]any {
	template := d.template()
	switch kind {
	case "Pod":
		metadata, _ := template["metadata"].(map[string]any)
		if metadata == nil {
			metadata = map[string]any{}
		}
		for key, value := range d.owners(true) {
			metadata[key] = value
		}
		template["metadata"] = metadata
		return template
	case "CronJob":
		job := d.members(map[string]any{"spec": d.members(map[string]any{"template": template})})
		return map[string]any{"metadata": d.owners(false), "spec": d.members(map[string]any{"jobTemplate": job})}
	}
	return d.members(map[string]any{"metadata": d.owners(false), "spec": d.members(map[string]any{"template": template})})
}

// without returns a copy of a document without what the handler may change: our annotations, digests and policies.
func without(value any, originals map[string]string) any {
	switch v := value.(type) {
	case map[string]any:
		copied := map[string]any{}
		for key, member := range v {
			if pins.IsPin(key) || key == v1alpha1.AnnotationRewritten {
				continue
			}
			next := without(member, originals)
			if object, ok := next.(map[string]any); ok && len(object) == 0 && (key == "annotations" || key == "metadata") {
				continue
			}
			if next == nil && key == "annotations" {
				continue
			}
			copied[key] = next
		}
		name, _ := v["name"].(string)
		original, replaced := originals[name]
		if replaced && v["image"] != nil {
			copied["image"] = original
			delete(copied, "imagePullPolicy")
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for i := range v {
			copied[i] = without(v[i], originals)
		}
		return copied
	}
	return value
}

// aboutTheSame compares what the handler must not change; of replaced containers and volumes their original images.
func aboutTheSame(t testing.TB, before, after string) {
	t.Helper()
	images := v1alpha1.Originals(markerOf(t, after))
	if len(images) > 0 {
		digested(t, after, images)
	}
	var documents [2]any
	for i, text := range []string{before, after} {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&documents[i]); err != nil {
			t.Fatal(err)
		}
		documents[i] = without(documents[i], images)
		if image, found := images["volume/model"]; found {
			documents[i] = withVolume(documents[i], image)
		}
	}
	a, errA := json.Marshal(documents[0])
	b, errB := json.Marshal(documents[1])
	if errors.Join(errA, errB) != nil || string(a) != string(b) {
		t.Fatalf("something is lost or changed:\nbefore %s\nafter  %s", a, b)
	}
}

// digested fails the test unless each container of a pod that was replaced runs a digest and is not pulled every time.
func digested(t testing.TB, pod string, images map[string]string) {
	t.Helper()
	w, err := pins.Parse([]byte(pod), "Pod")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range w.Template.Containers {
		original, replaced := images[c.Name]
		repository, _ := v1alpha1.SplitTag(original)
		if replaced && (!strings.HasPrefix(c.Image, repository+"@sha256:") || c.Policy != "IfNotPresent" && c.Policy != "") {
			t.Fatalf("container %s with %s became %s %s", c.Name, original, c.Image, c.Policy)
		}
	}
}

func markerOf(t testing.TB, pod string) string {
	t.Helper()
	var object struct {
		Metadata struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal([]byte(pod), &object); err != nil {
		t.Fatal(err)
	}
	return object.Metadata.Annotations[v1alpha1.AnnotationRewritten]
}

func withVolume(document any, image string) any {
	spec := document.(map[string]any)["spec"].(map[string]any)
	for _, volume := range spec["volumes"].([]any) {
		if source, ok := volume.(map[string]any)["image"].(map[string]any); ok {
			source["reference"] = image
			delete(source, "pullPolicy")
		}
	}
	return document
}

// Whatever is admitted: the patch applies, a second call changes nothing more, and nothing is lost.
func TestTenThousandRandomObjects(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10_000) {
		randomObject(t, seed)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func FuzzRandomObjects(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { randomObject(t, seed) })
}

func randomObject(t testing.TB, seed uint64) {
	d := dice{rand.New(rand.NewPCG(seed, 7))}
	resolve := func(image string, _ bool) (string, error) {
		if strings.HasPrefix(image, "broken/") {
			return "", fmt.Errorf("no answer")
		}
		return two, nil
	}
	mode := d.one(v1alpha1.RewriteLatest, v1alpha1.RewriteTags)
	h := rewriting(t, stored{labels: map[string]string{v1alpha1.LabelRewrite: mode}}, resolve)
	kind := d.one("Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
	group := map[string]string{"Pod": "", "Job": "batch", "CronJob": "batch"}[kind]
	if group == "" && kind != "Pod" {
		group = "apps"
	}
	object, old := encodeAny(t, d.object(kind)), ""
	if d.yes() {
		old = encodeAny(t, d.object(kind))
		if d.yes() { // a small change of what is stored
			old = strings.NewReplacer(one, two, "app:v1", "app").Replace(object)
		}
	}
	after, operations, _ := admitted(t, h, reviewOf(t, group, kind, old, object), object)
	if kind == "Pod" && old != "" {
		return // TestAPodThatIsAppliedAgainStaysAsItIs
	}
	aboutTheSame(t, object, after)
	if _, more, _ := admitted(t, h, reviewOf(t, group, kind, old, after), after); len(more) > 0 {
		t.Errorf("%s\nbefore %s\nfirst  %v\nsecond %v", kind, object, operations, more)
	}
	if kind == "Pod" {
		return
	}
	if i := slices.IndexFunc(operations, func(o pins.Operation) bool { return !strings.Contains(o.Path, "/metadata") }); i >= 0 {
		t.Errorf("a template is changed at %s", operations[i].Path)
	}
}

func encodeAny(t testing.TB, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
