package learn

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
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
// displaces, which is only kept for a rollback; the others keep theirs. A rollback does the same. So does one where more images are in
// use than there are places, for what the workload is worth.
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

	// One more is in use than there are places. The busiest workload moves to another repository, and has no pod there yet: its new
	// image has no start of its own.
	p.scale(t, namespace, "a", 5)
	lab.Eventually(t, "the starts to be counted", func() error {
		count, err := resource.ParseQuantity(lab.Field(p.PrepullImage(t, old), "status", "starts", "count"))
		if err == nil && count.AsApproximateFloat64() < 5 {
			err = fmt.Errorf("they are %s", count.String())
		}
		return err
	})
	d, moved := image("d:v1", 345), p.Push(t, "moved/a:v3", images.Image{Seed: 346})
	p.Deploy(t, namespace, lab.Deployment("d", d, 1))
	p.WaitState(t, d, "Skipped: OverBudget")
	p.scale(t, namespace, "a", 0)
	p.setImage(t, namespace, "a", moved)
	inUse(moved, old)
	p.WaitState(t, d, "Skipped: OverBudget")
}

// scale sets the replicas of a Deployment.
func (p product) scale(t *testing.T, namespace, name string, replicas int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if _, err := p.Client().AppsV1().Deployments(namespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestAListWithoutStartsComesToRest has three times as many images as places, all of Deployments without pods. What is on the
// nodes has a size that no registry told, and keeps its place all the same.
func TestAListWithoutStartsComesToRest(t *testing.T) {
	t.Parallel()
	const many, places = 12, 4
	p := product{lab.Lease(t, "--set", fmt.Sprint("config.maxImagesPerNode=", places))}
	const namespace = "idle"
	p.Namespace(t, namespace, true)
	var all []string
	for i := range many {
		image := p.Push(t, fmt.Sprintf("idle/app-%02d:v1", i), images.Image{Seed: uint64(360 + i), Size: (1 + int64(i*5%many)) << 20})
		all = append(all, image)
	}
	lists := map[string]bool{}
	for i, image := range all {
		p.Deploy(t, namespace, lab.Deployment(fmt.Sprintf("app-%02d", i), image, 0))
	}
	var listed []string
	lab.Eventually(t, "as many images to be Ready as have a place", func() error {
		listed = nil
		for _, ds := range p.DaemonSets(t) {
			for _, image := range lab.ImagesOf(&ds.Spec.Template.Spec) {
				listed = append(listed, image)
			}
		}
		slices.Sort(listed)
		lists[strings.Join(listed, " ")] = true
		ready := 0
		for _, image := range listed {
			if object := p.PrepullImage(t, image); object != nil && lab.Field(object, "status", "state") == "Ready" {
				ready++
			}
		}
		if ready != places {
			return fmt.Errorf("%d of %d are", ready, places)
		}
		return nil
	})
	p.WaitHeld(t, listed...)
	// The empty list, one of the images that were learned first, and the one of all.
	if len(lists) > 3 {
		t.Errorf("there were %d different lists", len(lists))
	}
}

// TestAFailingImageWithoutAPlaceHoldsUpNobody has a namespace whose own images fill its places, and one that fails besides; the
// failing image of another namespace is tried again all the same.
func TestAFailingImageWithoutAPlaceHoldsUpNobody(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.maxImagesPerNode=4")}
	p.Namespace(t, "crowded", true)
	p.Namespace(t, "hiccup", true)
	for i := range 3 {
		image := p.Push(t, fmt.Sprintf("crowded/app-%d:v1", i), images.Image{Seed: uint64(380 + i)})
		p.Deploy(t, "crowded", lab.Deployment(fmt.Sprint("app-", i), image, 1))
		p.WaitState(t, image, "Ready")
	}
	missing := p.Registry.Addr() + "/crowded/a-missing:v1"
	p.Deploy(t, "crowded", lab.Deployment("a-missing", missing, 0))
	p.WaitState(t, missing, "PullFailed: not found")
	back := p.Push(t, "hiccup/app:v1", images.Image{Seed: 384})
	p.Registry.SetFault("hiccup/app", registry.Refuse(http.StatusNotFound))
	defer p.Registry.LiftFault("hiccup/app")
	p.Deploy(t, "hiccup", lab.Deployment("app", back, 0))
	p.WaitState(t, back, "PullFailed: not found")
	for i := range 2 {
		image := p.Push(t, fmt.Sprintf("crowded/more-%d:v1", i), images.Image{Seed: uint64(385 + i)})
		p.Deploy(t, "crowded", lab.Deployment(fmt.Sprint("more-", i), image, 1))
	}
	// No node has the failing one in its list any more when another one has its place, whichever was learned first.
	lab.Eventually(t, "one of two more to be Ready", func() error {
		var states []string
		for i := range 2 {
			if o := p.PrepullImage(t, fmt.Sprintf("%s/crowded/more-%d:v1", p.Registry.Addr(), i)); o != nil {
				states = append(states, lab.Field(o, "status", "state"))
			}
		}
		if !slices.Contains(states, "Ready") {
			return fmt.Errorf("they are %q", states)
		}
		return nil
	})
	p.Registry.LiftFault("hiccup/app")
	// Their time has come, that of the image without a place first.
	p.dueSince(t, missing, 2*time.Minute)
	p.dueSince(t, back, time.Minute)
	p.WaitState(t, back, "Ready")
}

// dueSince has a failing image tried again since a while.
func (p product) dueSince(t *testing.T, image string, since time.Duration) {
	t.Helper()
	lab.Eventually(t, image+" to be due", func() error {
		o := p.PrepullImage(t, image)
		retries, found, err := unstructured.NestedSlice(o.Object, "status", "retries")
		if err != nil || !found {
			return fmt.Errorf("it does not fail (%v)", err)
		}
		for _, r := range retries {
			r.(map[string]any)["time"] = time.Now().Add(-since).UTC().Format(time.RFC3339)
		}
		if err := unstructured.SetNestedSlice(o.Object, retries, "status", "retries"); err != nil {
			return err
		}
		_, err = p.Images.UpdateStatus(t.Context(), o, metav1.UpdateOptions{})
		return err
	})
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
