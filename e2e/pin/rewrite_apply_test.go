package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/util/retry"
)

// applied is what somebody keeps in git: tags, no pull policies, an init container and two others.
const applied = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[2]s
  namespace: %[3]s
  annotations: {team: a}
spec:
  replicas: 1
  selector:
    matchLabels: {app: %[2]s}
  template:
    metadata:
      labels: {app: %[2]s}
    spec:
      terminationGracePeriodSeconds: 0
      initContainers:
      - name: init
        image: %[1]s/%[3]s/init:latest
        args: [get, "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)/healthz"]
      containers:
      - name: app
        image: %[1]s/%[3]s/app:latest
      - name: side
        image: %[1]s/%[3]s/side
`

// repeats is how often each way is gone before and after the tags move.
const repeats = 50

// TestAppliesOfTheSameChangeNothing applies what is applied already, in every way that people and their tools do, and
// moves the tags meanwhile: no rollout, no difference for GitOps to repair, and no question to the registry.
func TestAppliesOfTheSameChangeNothing(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "noop", "latest")}
	pins, pinned := map[string]string{}, ""
	for _, image := range []string{"init:latest", "side", "app:latest"} {
		name := strings.TrimSuffix(image, ":latest")
		digests := n.Versions(t, name, 2)
		n.point(t, name, "latest", "v1")
		pins["pin.kube-prepull.io/"+name] = n.Image(image) + "@" + digests[0]
		pinned = n.digested(name, digests[0])
	}
	ways := []struct {
		name   string
		first  []string // arguments of the kubectl that applies it first
		repeat func(t *testing.T, n pinning, name, manifest string)
	}{
		{"client-side-apply", []string{"apply"}, applyClientSide},
		{"server-side-apply", []string{"apply", "--server-side"}, applyServerSide},
		{"server-side-dry-run", []string{"apply", "--server-side"}, applyDryRun},
		{"put", []string{"apply"}, putWithoutPins},
		{"replace", []string{"apply"}, replace},
		{"three-way-diff", []string{"apply"}, compareThreeWay},
	}
	before := map[string]deploymentState{}
	manifest := func(name string) string { return fmt.Sprintf(applied, n.Registry.Addr(), name, n.Name) }
	for _, way := range ways {
		n.kubectl(t, append(way.first, "-f", n.manifest(t, manifest(way.name)))...)
		n.wantPins(t, "deployment", way.name, pins)
	}
	for _, way := range ways {
		n.waitPods(t, way.name, 1, pinned)
		before[way.name] = n.state(t, way.name)
	}
	asked := n.Questions("*")
	if asked == 0 {
		t.Fatal("the registry has counted nothing")
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			for _, version := range []string{"v1", "v2"} {
				for _, repository := range []string{"init", "side", "app"} {
					n.point(t, repository, "latest", version)
				}
				way.repeat(t, n, way.name, manifest(way.name))
			}
			now := n.state(t, way.name)
			if way.name == "replace" {
				now.Generation = before[way.name].Generation
			}
			if diff := cmp.Diff(before[way.name], now); diff != "" {
				t.Errorf("it changed (-before +after):\n%s", diff)
			}
			n.wantPins(t, "deployment", way.name, pins)
		})
	}
	if now := n.Questions("*"); now != asked {
		t.Errorf("the registry was asked %d times about what nobody changed", now-asked)
	}
}

func applyClientSide(t *testing.T, n pinning, name, manifest string) {
	output := n.kubectl(t, "apply", "-f", n.manifest(t, strings.Repeat(manifest+"---\n", repeats)))
	if got := strings.Count(output, "deployment.apps/"+name+" unchanged\n"); got != repeats {
		t.Errorf("kubectl says %d times of %d that it is unchanged:\n%s", got, repeats, output)
	}
}

func applyServerSide(t *testing.T, n pinning, name, manifest string) {
	for range repeats {
		if _, err := n.serverSide(t, name, manifest, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// applyDryRun wants to be shown what is there already, as Flux and Argo CD do to find differences.
func applyDryRun(t *testing.T, n pinning, name, manifest string) {
	stored, err := n.Client().AppsV1().Deployments(n.Name).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range repeats {
		shown, err := n.serverSide(t, name, manifest, []string{metav1.DryRunAll})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stored, shown); diff != "" {
			t.Fatalf("a dry run shows another object (-stored +shown):\n%s", diff)
		}
	}
}

// serverSide applies a manifest as kubectl does.
func (n pinning) serverSide(t *testing.T, name, manifest string, dryRun []string) (*appsv1.Deployment, error) {
	t.Helper()
	return n.Client().AppsV1().Deployments(n.Name).Patch(t.Context(), name, types.ApplyYAMLPatchType, []byte(manifest), metav1.PatchOptions{FieldManager: "kubectl", DryRun: dryRun})
}

// putWithoutPins writes the object as it is but for its template, which comes from git, as an operator does that knows
// no pins.
func putWithoutPins(t *testing.T, n pinning, name, manifest string) {
	n.put(t, name, manifest, func(d, stored *appsv1.Deployment) { d.Annotations = stored.Annotations })
}

// replace writes what is in git and nothing else, as kubectl replace does. The controller then brings its own annotation
// back; to the API server either is another generation of a Deployment.
func replace(t *testing.T, n pinning, name, manifest string) {
	n.put(t, name, manifest, func(*appsv1.Deployment, *appsv1.Deployment) {})
}

func (n pinning) put(t *testing.T, name, manifest string, keep func(d, stored *appsv1.Deployment)) {
	t.Helper()
	client := n.Client().AppsV1().Deployments(n.Name)
	for range repeats {
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			stored, err := client.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			var d appsv1.Deployment
			if err := yaml.Unmarshal([]byte(manifest), &d); err != nil {
				return err
			}
			d.ResourceVersion = stored.ResourceVersion
			keep(&d, stored)
			_, err = client.Update(t.Context(), &d, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// compareThreeWay is the difference that Argo CD looks for between git, what was applied last, and what is there.
func compareThreeWay(t *testing.T, n pinning, name, manifest string) {
	git, err := yaml.ToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := strategicpatch.NewPatchMetaFromStruct(appsv1.Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	for range repeats {
		object, _ := n.stored(t, "deployment", name)
		last := object.GetAnnotations()[corev1.LastAppliedConfigAnnotation]
		live, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		patch, err := strategicpatch.CreateThreeWayMergePatch([]byte(last), git, live, schema, true)
		if err != nil {
			t.Fatal(err)
		}
		if string(patch) != "{}" {
			t.Fatalf("there is a difference: %s", patch)
		}
	}
}

// deploymentState is what must not change of a Deployment where nothing is rolled out.
type deploymentState struct {
	Generation        int64
	Spec              appsv1.DeploymentSpec
	ReplicaSets, Pods []string
}

// state waits until the controller has nothing to do to a Deployment.
func (n pinning) state(t *testing.T, name string) deploymentState {
	t.Helper()
	var d *appsv1.Deployment
	lab.Eventually(t, name+" to settle", func() (err error) {
		if d, err = n.Client().AppsV1().Deployments(n.Name).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		want := *d.Spec.Replicas
		if s := d.Status; s.ObservedGeneration != d.Generation || s.Replicas != want || s.UpdatedReplicas != want || s.AvailableReplicas != want {
			return fmt.Errorf("its status is %+v", s)
		}
		return nil
	})
	return deploymentState{d.Generation, d.Spec, n.revisions(t, "deployment", name), lab.PodIdentities(n.pods(t, name))}
}

// TestPinsThatARequestTouches are put right if they are missing or malformed. A well-formed one is asked for, unless an earlier
// revision has it.
func TestPinsThatARequestTouches(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "touched", "latest")}
	for _, kind := range []string{"deployment", "statefulset", "daemonset", "cronjob"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			digests := n.Versions(t, kind, 3)
			n.point(t, kind, "latest", "v1")
			image := n.Image(kind + ":latest")
			template := podTemplate(kind, image)
			template.Annotations = map[string]string{"team": "a"}
			template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
			if kind == "cronjob" {
				untilStarted(&template)
			}
			n.create(t, kind, kind, template)
			if kind != "cronjob" {
				n.waitPods(t, kind, 1, n.digested(kind, digests[0]))
			}
			before, _ := n.stored(t, kind, kind)
			n.point(t, kind, "latest", "v2")
			asked := n.Questions(kind)
			if asked == 0 {
				t.Fatal("the registry has counted nothing")
			}
			for what, value := range map[string]any{
				"that is gone": nil, "that is empty": "", "without a digest": image, "of another image": n.Image(kind+":v3") + "@" + digests[2],
				"of another algorithm": image + "@sha512:" + strings.Repeat("0", 128), "of a short digest": image + "@sha256:0",
			} {
				n.annotate(t, kind, kind, map[string]any{"pin.kube-prepull.io/app": value})
				n.wantPins(t, kind, kind, appPin(image, digests[0]))
				if now, _ := n.stored(t, kind, kind); now.GetGeneration() != before.GetGeneration() {
					t.Errorf("with a pin %s it went from generation %d to %d", what, before.GetGeneration(), now.GetGeneration())
				}
			}
			if now := n.Questions(kind); now != asked {
				t.Errorf("the registry was asked %d times", now-asked)
			}
			n.annotate(t, kind, kind, map[string]any{"pin.kube-prepull.io/app": image + "@" + digests[2]})
			n.wantPins(t, kind, kind, appPin(image, digests[1]))
			if kind != "cronjob" {
				n.waitPods(t, kind, 1, n.digested(kind, digests[1]))
				n.annotate(t, kind, kind, map[string]any{"pin.kube-prepull.io/app": image + "@" + digests[0]})
				n.wantPins(t, kind, kind, appPin(image, digests[0]))
				n.waitPods(t, kind, 1, n.digested(kind, digests[0]))
			}
			if _, template := n.stored(t, kind, kind); template.Annotations["team"] != "a" {
				t.Errorf("the annotations are %v, want the user's among them", template.Annotations)
			}
		})
	}
}

// TestChangesBesideTheTemplateRollNothing changes labels, replicas and other fields of a pinned Deployment whose tag moved.
func TestChangesBesideTheTemplateRollNothing(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "beside", "tags")}
	digests := n.Versions(t, "app", 2)
	n.point(t, "app", "stable", "v1")
	image := n.Image("app:stable")
	n.create(t, "deployment", "app", podTemplate("app", image))
	n.waitPods(t, "app", 1, n.digested("app", digests[0]))
	n.point(t, "app", "stable", "v2")
	asked := n.Registry.Counts("beside/app").ManifestHeads // the nodes ask for the digest itself
	for _, args := range [][]string{
		{"scale", "deployment/app", "--replicas=2"},
		{"label", "deployment/app", "team=a"},
		{"annotate", "deployment/app", "note=a"},
		{"patch", "deployment/app", "--type=merge", "-p", `{"spec":{"minReadySeconds":1}}`},
		{"autoscale", "deployment/app", "--min=2", "--max=2"},
		{"rollout", "pause", "deployment/app"},
		{"rollout", "resume", "deployment/app"},
	} {
		n.kubectl(t, args...)
	}
	n.waitPods(t, "app", 2, n.digested("app", digests[0]))
	n.wantPins(t, "deployment", "app", appPin(image, digests[0]))
	if sets := n.revisions(t, "deployment", "app"); len(sets) != 1 {
		t.Errorf("there are the ReplicaSets %v, want one", sets)
	}
	if now := n.Registry.Counts("beside/app").ManifestHeads; now > asked+1 { // that of the second node's pull
		t.Errorf("the registry was asked %d times", now-asked)
	}
}

// TestANewNamespaceIsPinnedAtOnce, as in one apply of a namespace and all that is in it: neither the API server nor a
// manager has time to hear of the namespace before.
func TestANewNamespaceIsPinnedAtOnce(t *testing.T) {
	t.Parallel()
	images := pinning{&lab.Pinning{Product: lab.Shared(t), Name: "new"}}
	digest := images.Versions(t, "app", 1)[0]
	images.point(t, "app", "latest", "v1")
	image := images.Image("app:latest")
	for i := range 20 {
		n := product{images.Product}.pinning(t, fmt.Sprintf("new-%d", i))
		t.Cleanup(func() {
			if err := n.Client().CoreV1().Namespaces().Delete(context.Background(), n.Name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		n.Deploy(t, n.Name, lab.Deployment("app", image, 0))
		n.wantPins(t, "deployment", "app", appPin(image, digest))
	}
}
