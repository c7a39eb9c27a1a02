package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// TestAlwaysPullImages keeps its pull policy: the plugin refuses to store any other.
func TestAlwaysPullImages(t *testing.T) {
	t.Parallel()
	c := upCluster(t, cluster.Options{Nodes: []cluster.Node{{Name: "node-1"}}, AdmissionPlugins: []string{"AlwaysPullImages"}})
	p := &product{Cluster: c}
	if err := p.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.registry.Close(); err != nil {
			t.Error(err)
		}
	})
	n := p.pinnedNamespace(t, "shop")
	digest := n.versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	eventually(t, time.Minute, "the plugin to be known to all managers", func() error {
		for _, manager := range p.managers(t) {
			if metric(t, manager, "kube_prepull_always_pull_images") != 1 {
				return fmt.Errorf("%s does not know it", manager.Name)
			}
		}
		return nil
	})
	n.create(t, "deployment", "app", podTemplate("app", n.image("app:latest")))
	bare := podOn("", "bare", n.image("app:latest"))
	bare.Namespace = n.name
	bare.Labels = map[string]string{"app": "bare"}
	if _, err := n.Client().CoreV1().Pods("shop").Create(t.Context(), bare, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app", "bare"} {
		for _, pod := range n.waitPods(t, name, 1, n.digested("app", digest)) {
			if policy := pod.Spec.Containers[0].ImagePullPolicy; policy != corev1.PullAlways {
				t.Errorf("%s has the pull policy %s", pod.Name, policy)
			}
		}
	}
}

// TestPullPoliciesCanBeLeftAlone by configuration.
func TestPullPoliciesCanBeLeftAlone(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.configure(t, "--set", "config.rewritePullPolicy=false")
	n := p.pinnedNamespace(t, "shop")
	digest := n.versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	n.create(t, "deployment", "app", podTemplate("app", n.image("app:latest")))
	for _, pod := range n.waitPods(t, "app", 1, n.digested("app", digest)) {
		if policy := pod.Spec.Containers[0].ImagePullPolicy; policy != corev1.PullAlways {
			t.Errorf("%s has the pull policy %s", pod.Name, policy)
		}
	}
}

// pinnedNamespace makes a namespace of a cluster of the test's own, and returns when its images are pinned.
func (p *product) pinnedNamespace(t *testing.T, name string) *pinning {
	t.Helper()
	p.namespace(t, name, false)
	patch := []byte(`{"metadata":{"labels":{"kube-prepull.io/rewrite":"latest"}}}`)
	if _, err := p.Client().CoreV1().Namespaces().Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	n := &pinning{p, name}
	n.versions(t, "probe", 1)
	n.point(t, "probe", "latest", "v1")
	eventually(t, time.Minute, "pods to be rewritten", func() error {
		if n.tryPod(t, podOn("", "probe", n.image("probe:latest"))).Annotations["kube-prepull.io/rewritten"] == "" {
			return errors.New("a pod is not")
		}
		return nil
	})
	return n
}
