package learn

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// setImage has a Deployment of one container roll out another image.
func (p product) setImage(t *testing.T, namespace, name, image string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":%q}]}}}}`, image)
	if _, err := p.Client().AppsV1().Deployments(namespace).Patch(t.Context(), name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestAReleaseWhereTheListIsFull has as many images in use as nodes have places. A release takes the place of the image that it
// displaces, which is only kept for a rollback; the others keep theirs. A rollback does the same.
func TestAReleaseWhereTheListIsFull(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.maxImagesPerNode=3")}
	const namespace = "full"
	p.Namespace(t, namespace, true)
	image := func(name string, seed uint64) string {
		return p.Push(t, "full/"+name, images.Image{Seed: seed})
	}
	old, next, b, c := image("a:v1", 341), image("a:v2", 342), image("b:v1", 343), image("c:v1", 344)
	for name, of := range map[string]string{"a": old, "b": b, "c": c} {
		p.Deploy(t, namespace, lab.Deployment(name, of, 1))
	}
	for _, of := range []string{old, b, c} {
		p.WaitState(t, of, "Ready")
	}
	inUse := func(now, before string) {
		t.Helper()
		p.WaitState(t, now, "Ready")
		p.WaitState(t, before, "Skipped: OverBudget")
		for _, of := range []string{now, b, c} {
			p.WaitState(t, of, "Ready")
			if !p.Listed(t, of) {
				t.Errorf("%s is in use and not listed", of)
			}
		}
	}
	p.setImage(t, namespace, "a", next)
	inUse(next, old)
	p.setImage(t, namespace, "a", old)
	inUse(old, next)
}

// TestWhatTheKubeletMayNotPull is not pulled ahead either, and what a debugger brings along teaches nothing.
func TestWhatTheKubeletMayNotPull(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	const namespace = "never"
	p.Namespace(t, namespace, true)
	loaded := p.Registry.Addr() + "/never/loaded:by-hand" // it is in no registry
	toolbox := p.Push(t, "never/toolbox:v1", images.Image{Seed: 351})
	app := p.Push(t, "never/app:v1", images.Image{Seed: 352})

	d := lab.Deployment("loaded", loaded, 0)
	d.Spec.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
	p.Deploy(t, namespace, d)
	debug := lab.PodOn("node-1", "node-debugger", toolbox)
	debug.Namespace = namespace
	debug.Labels = map[string]string{"app.kubernetes.io/managed-by": "kubectl-debug"}
	lab.StartPod(t, p.Cluster, debug)

	// What comes later is learned first.
	p.Deploy(t, namespace, lab.Deployment("app", app, 1))
	p.WaitState(t, app, "Ready")
	for _, image := range []string{loaded, toolbox} {
		if p.PrepullImage(t, image) != nil || p.Listed(t, image) {
			t.Errorf("%s was learned", image)
		}
	}
}
