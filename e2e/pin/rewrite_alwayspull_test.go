package pin

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestAlwaysPullImages is an admission plugin that lets no pod be stored with another policy than Always. It is noticed,
// and no pod is refused for what kube-prepull does, not even while managers start that have yet to notice.
func TestAlwaysPullImages(t *testing.T) {
	t.Parallel()
	p := product{lab.UninstalledOn(t, cluster.Options{Nodes: []cluster.Node{{Name: "node-1"}}, AdmissionPlugins: []string{"AlwaysPullImages"}})}
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.waitAlwaysPull(t, 1)
	n := p.pinning(t, "shop")
	digest := n.Versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	n.runsPinned(t, digest, corev1.PullAlways)

	stop := n.createAllTheTime(t)
	if err := p.Upgrade(t.Context(), "--set", "podAnnotations.changed=yes"); err != nil {
		t.Fatal(err)
	}
	created, errs := stop()
	t.Logf("%d pods were created meanwhile", created)
	if len(errs) > 0 {
		t.Errorf("%d pods were refused, the first: %v", len(errs), errs[0])
	}
	if created < 20 {
		t.Errorf("only %d pods were created meanwhile", created)
	}
	p.waitAlwaysPull(t, 1)
}

// TestPinningAsConfigured leaves pull policies and pull secrets alone. In the end kube-prepull is uninstalled, and pods
// have the tag again.
func TestPinningAsConfigured(t *testing.T) {
	t.Parallel()
	p := product{lab.UninstalledOn(t, cluster.Options{Nodes: []cluster.Node{{Name: "node-1"}}}, "--set", "config.rewritePullPolicy=false", "--set", "config.pullSecrets=false")}
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.waitAlwaysPull(t, 0)
	n := p.pinning(t, "shop")
	digest := n.Versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	n.runsPinned(t, digest, corev1.PullAlways)

	n.Registry.Private("shop/private", registry.Auth{User: "clerk", Password: "planted-5"})
	n.loginSecret(t, "key", corev1.SecretTypeDockerConfigJson, n.Registry.Addr(), "planted-5")
	a := n.AdmitNew(t, withSecrets(lab.Deployment("private", n.Image("private:latest"), 0), "key"))
	a.WantPins(t, nil)
	a.WantWarning(t, "container app ", n.Image("private:latest"), "answers 401 Unauthorized")

	p.MayBeRefused() // a manager may end after its roles
	if err := lab.Uninstall(t.Context(), p.Cluster); err != nil {
		t.Fatal(err)
	}
	n.kubectl(t, "scale", "--replicas=2", "deployment/web")
	n.settledPods(t, "web", map[string]int{n.Image("app:latest"): 1, n.digested("app", digest): 1})
	if got := n.revisions(t, "deployment", "web"); len(got) != 1 {
		t.Errorf("there are the revisions %v, want one", got)
	}
}

// waitAlwaysPull waits until every manager has noticed.
func (p product) waitAlwaysPull(t *testing.T, want float64) {
	t.Helper()
	lab.Eventually(t, "every manager to know of AlwaysPullImages", func() error {
		managers := p.Managers(t)
		for _, manager := range managers {
			if got := p.Metric(t, manager, "kube_prepull_always_pull_images "); got != want {
				return fmt.Errorf("%s says %v", manager.Name, got)
			}
		}
		if len(managers) < 2 {
			return fmt.Errorf("there are %d", len(managers))
		}
		return nil
	})
}

// runsPinned starts a pod of a Deployment and a bare one, both with the tag latest and its usual policy.
func (n pinning) runsPinned(t *testing.T, digest string, policy corev1.PullPolicy) {
	t.Helper()
	image := n.Image("app:latest")
	n.create(t, "deployment", "web", podTemplate("web", image))
	n.wantPins(t, "deployment", "web", appPin(image, digest))
	template := podTemplate("bare", image)
	bare := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	bare.Name = "bare"
	if _, err := n.Client().CoreV1().Pods(n.Name).Create(t.Context(), bare, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", "bare"} {
		pod := n.waitRunning(t, name)
		want := map[string]string{"app": n.digested("app", digest) + " " + string(policy)}
		if diff := cmp.Diff(want, containersOf(pod)); diff != "" {
			t.Errorf("the pod %s (-want +got):\n%s", pod.Name, diff)
		}
		if got := pod.Annotations["kube-prepull.io/rewritten"]; got != "app="+image {
			t.Errorf("the marker of %s is %q", pod.Name, got)
		}
	}
}

// createAllTheTime creates pods in dry runs. The function that it returns ends that, and says how many there were and
// what went wrong.
func (n pinning) createAllTheTime(t *testing.T) func() (int, []error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	var errs []error
	created := 0
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			pod := lab.PodOn("", "dry", n.Image("app:latest"))
			pod.Namespace, pod.Spec.Containers[0].ImagePullPolicy = n.Name, corev1.PullAlways
			_, err := n.Client().CoreV1().Pods(n.Name).Create(context.Background(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				errs = append(errs, err)
			} else {
				created++
			}
		}
	})
	return func() (int, []error) {
		stop()
		running.Wait()
		return created, errs
	}
}
