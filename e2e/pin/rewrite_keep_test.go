package pin

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestPinsAreKeptWhileNoManagerAnswers replaces pinned workloads by their manifests, as kubectl replace does, while there is no manager:
// what changes nothing keeps its pins and does not roll. Everything else is what the API server would make of it.
func TestPinsAreKeptWhileNoManagerAnswers(t *testing.T) {
	t.Parallel()
	lab.RequireKubernetes(t, lab.MutatingAdmissionPolicies, "MutatingAdmissionPolicies")
	p := lab.Lease(t)
	n := pinning{p.Pinning(t, "kept", "latest")}
	n.Versions(t, "app", 2)
	n.point(t, "app", "latest", "v1")
	deployments := n.Client().AppsV1().Deployments(n.Name)
	manifests := map[string]*appsv1.Deployment{}
	for _, name := range []string{"same", "annotated", "volume", "other-image", "restarted", "not-pinned-any-more"} {
		manifests[name] = lab.Deployment(name, n.Image("app:latest"), 1)
		if name == "annotated" {
			manifests[name].Spec.Template.Annotations = map[string]string{"team": "a"}
		}
		if name == "volume" {
			pod := &manifests[name].Spec.Template.Spec
			pod.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: n.Image("app:latest")}}}}
			pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		}
		n.Deploy(t, n.Name, manifests[name].DeepCopy())
	}
	before := map[string]*appsv1.Deployment{}
	for name := range manifests {
		lab.Eventually(t, name+" to be pinned and settled", func() error {
			d, err := deployments.Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && (d.Spec.Template.Annotations["pin.kube-prepull.io/app"] == "" || d.Status.ObservedGeneration != d.Generation) {
				err = errors.New("it is not")
			}
			before[name] = d
			return err
		})
	}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "set"}, Spec: appsv1.StatefulSetSpec{Selector: manifests["same"].Spec.Selector, Template: manifests["same"].Spec.Template}}
	sets := n.Client().AppsV1().StatefulSets(n.Name)
	stored, err := sets.Create(t.Context(), set.DeepCopy(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	n.ScaleManagers(t, 0)
	defer n.ScaleManagers(t, 2)
	manifests["other-image"].Spec.Template.Spec.Containers[0].Image = n.Image("app:v2")
	manifests["restarted"].Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "2026-01-02T12:00:00Z"}
	for _, name := range []string{"same", "annotated", "volume", "other-image", "restarted"} {
		after, err := deployments.Update(t.Context(), manifests[name], metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := maps.Clone(manifests[name].Spec.Template.Annotations)
		if name == "same" || name == "annotated" || name == "volume" {
			want = before[name].Spec.Template.Annotations
			if diff := cmp.Diff(before[name].Spec.Template, after.Spec.Template); diff != "" {
				t.Errorf("%s rolls (-before +after):\n%s", name, diff)
			}
		}
		if !maps.Equal(after.Spec.Template.Annotations, want) {
			t.Errorf("%s has the annotations %v, want %v", name, after.Spec.Template.Annotations, want)
		}
	}
	again, err := sets.Update(t.Context(), set, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if again.Generation != stored.Generation || !maps.Equal(again.Spec.Template.Annotations, stored.Spec.Template.Annotations) {
		t.Errorf("the StatefulSet had %v and has %v", stored.Spec.Template.Annotations, again.Spec.Template.Annotations)
	}

	// Who does not want pins any more is not given any.
	patch := []byte(`{"metadata":{"labels":{"kube-prepull.io/rewrite":null}}}`)
	if _, err := n.Client().CoreV1().Namespaces().Patch(t.Context(), n.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "pins to go where none are asked for", func() error {
		after, err := deployments.Update(t.Context(), manifests["not-pinned-any-more"], metav1.UpdateOptions{})
		if err == nil && len(after.Spec.Template.Annotations) > 0 {
			err = fmt.Errorf("it has %v", after.Spec.Template.Annotations)
		}
		return err
	})
}
