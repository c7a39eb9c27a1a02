package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// uninstallTime is how long an uninstallation may take, whatever goes on.
const uninstallTime = time.Minute

// TestUninstallingAtAnyMomentLeavesNothing installs and uninstalls kube-prepull again and again on three nodes, while they
// pull slowly. One of them is held, and has no image of the managers.
func TestUninstallingAtAnyMomentLeavesNothing(t *testing.T) {
	t.Parallel()
	p := product{lab.UninstalledOn(t, cluster.Options{Nodes: []cluster.Node{{Name: "node-1"}, {Name: "node-2"}, {Name: "held"}}},
		"--set", "config.nodeCondition=true", "--set", "config.gate.enabled=true", "--set", "config.gate.deadline=1h")}
	p.Namespace(t, "shop", true)
	p.PullSecret(t, "shop", "login", corev1.SecretTypeDockerConfigJson, "planted")
	lab.Kubectl(t, p.Product, "cordon", "held") // no manager is to run there
	before := p.inventory(t, "shop")
	stays := []string{
		"apiservices v1alpha1.kube-prepull.io",
		"configmaps kube-prepull/kube-root-ca.crt",
		"customresourcedefinitions prepullimages.kube-prepull.io",
		"namespaces kube-prepull",
		"serviceaccounts kube-prepull/default",
	}
	plugin := lab.PluginFor(t, p.Cluster)
	step := func(name string, do func(t *testing.T)) {
		if !t.Failed() {
			t.Run(name, do)
		}
	}

	step("in the middle of a roll", func(t *testing.T) {
		p.installMidRoll(t, 1)
		p.uninstallInTime(t)
		p.requireAdded(t, before, stays)
		if err := lab.Uninstall(t.Context(), p.Cluster); err == nil || !strings.Contains(err.Error(), "not found") {
			t.Errorf("uninstalling twice: %v", err)
		}
		stdout, stderr, code := plugin.Run(t, "uninstall", "--yes")
		if code != 0 || !strings.HasPrefix(stdout, "nothing of kube-prepull is left") {
			t.Errorf("uninstalling what is not there ends with %d:\n%s%s", code, stdout, stderr)
		}
	})
	step("with the registry down", func(t *testing.T) {
		p.installMidRoll(t, 2)
		p.Registry.SetDown(true)
		defer p.Registry.SetDown(false)
		p.uninstallInTime(t)
		p.requireAdded(t, before, stays)
	})
	step("with no manager", func(t *testing.T) {
		p.installMidRoll(t, 3)
		p.ScaleManagers(t, 0)
		// There the hook would pull its image, behind ours. Where managers were it needs none, however slow the registry is.
		lab.Kubectl(t, p.Product, "cordon", "held")
		p.uninstallInTime(t)
		p.requireAdded(t, before, stays)
	})
	step("where the hook cannot run", func(t *testing.T) {
		p.installMidRoll(t, 4)
		if err := p.Upgrade(t.Context(), "--set", "image.tag=missing", "--wait=hookOnly"); err != nil {
			t.Fatal(err)
		}
		if err := p.helmUninstall(t, "--timeout", "5s"); err == nil {
			t.Fatal("the hook ran without an image")
		}
		watch := lab.StartStopwatch()
		stdout, stderr, code := plugin.Run(t, "uninstall", "--yes")
		watch.Within(t, uninstallTime, "the plugin")
		for _, words := range []string{"mutatingwebhookconfiguration/kube-prepull deleted", "node/held untainted", "deployment/kube-prepull deleted", "lease/kube-prepull deleted"} {
			if !strings.Contains(stdout, words+"\n") {
				t.Errorf("it does not tell that %s:\n%s", words, stdout)
			}
		}
		if code != 0 || !strings.Contains(stderr, "helm uninstall kube-prepull --namespace kube-prepull --no-hooks") {
			t.Errorf("it ends with %d:\n%s%s", code, stdout, stderr)
		}
		if err := p.helmUninstall(t, "--no-hooks"); err != nil {
			t.Error(err)
		}
		// A pod whose image a kubelet is about to pull is gone when that is over.
		p.Registry.SetBandwidth(0)
		p.requireAdded(t, before, stays)
	})
	step("with the CRD", func(t *testing.T) {
		p.installMidRoll(t, 5)
		if stdout, stderr, code := plugin.Run(t, "uninstall", "--yes", "--crds"); code != 0 {
			t.Errorf("it ends with %d:\n%s%s", code, stdout, stderr)
		}
		if err := p.helmUninstall(t, "--no-hooks"); err != nil {
			t.Error(err)
		}
		p.requireAdded(t, before, []string{stays[1], stays[3], stays[4]})
	})
	step("with a taint of a configuration that is gone", func(t *testing.T) {
		const key = "startup-taint.cluster-autoscaler.kubernetes.io/images"
		lab.Kubectl(t, p.Product, "taint", "node", "held", key+"=:NoSchedule")
		if _, stderr, code := plugin.Run(t, "uninstall", "--yes"); code != 0 || !strings.Contains(stderr, "--taint "+key+" takes it away") {
			t.Errorf("it ends with %d:\n%s", code, stderr)
		}
		if stdout, stderr, code := plugin.Run(t, "uninstall", "--yes", "--taint", key); code != 0 || !strings.Contains(stdout, "node/held untainted\n") {
			t.Errorf("it ends with %d:\n%s%s", code, stdout, stderr)
		}
	})
}

// installMidRoll installs kube-prepull, and returns while nodes pull an image for the first time and one is held.
func (p product) installMidRoll(t *testing.T, round int) {
	t.Helper()
	lab.Kubectl(t, p.Product, "cordon", "held")
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Registry.SetBandwidth(4e6)
	name := fmt.Sprint("app-", round)
	image := p.Push(t, "shop/"+name+":v1", images.Image{Size: 60 << 20, Seed: uint64(150 + round)})
	app := lab.Deployment(name, image, 0)
	app.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "login"}}
	p.Deploy(t, "shop", app)
	t.Cleanup(func() {
		p.Registry.SetBandwidth(0)
		if err := p.Client().AppsV1().Deployments("shop").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, "the image to be listed", func() error {
		if !p.Listed(t, image) {
			return errors.New("it is not")
		}
		return nil
	})
	// Held before, the node would be untainted at once: there would be nothing to wait for.
	lab.Kubectl(t, p.Product, "taint", "node", "held", "kube-prepull.io/warming=:NoSchedule")
	lab.Kubectl(t, p.Product, "uncordon", "held")
	lab.Eventually(t, "the held node to pull", func() error {
		if got := marks(p.node(t, "held")); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"kube-prepull.io/ImagesReady", "kube-prepull.io/warming"}) {
			return fmt.Errorf("it has the marks %v", got)
		}
		if !slices.ContainsFunc(p.PrepullPods(t), func(pod corev1.Pod) bool { return pod.Spec.NodeName == "held" }) {
			return errors.New("it has no prepull pod")
		}
		copies, err := p.Client().CoreV1().Secrets(lab.System).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"})
		if err == nil && len(copies.Items) == 0 {
			err = errors.New("there is no copy of the pull secret")
		}
		return err
	})
	for _, manager := range p.Managers(t) {
		if manager.Spec.NodeName == "held" {
			t.Fatal("a manager runs on the held node")
		}
	}
}

// node is a node, as marks reads it.
func (p product) node(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(lab.GetNode(t, p.Cluster, name))
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

// uninstallInTime uninstalls with helm.
func (p product) uninstallInTime(t *testing.T) {
	t.Helper()
	watch := lab.StartStopwatch()
	if err := p.helmUninstall(t, "--wait", "--timeout", "5m"); err != nil {
		t.Fatal(err)
	}
	watch.Within(t, uninstallTime, "helm uninstall")
}

func (p product) helmUninstall(t *testing.T, args ...string) error {
	t.Helper()
	return lab.Helm(t.Context(), p.Cluster, append([]string{"uninstall", "kube-prepull", "--namespace", lab.System}, args...)...)
}
