package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestOnOpenShift installs the chart where SecurityContextConstraints are served, and pods are refused that name a user of
// their own or have image volumes: the managers run, and images come to the node by init containers alone.
func TestOnOpenShift(t *testing.T) {
	t.Parallel()
	p := product{lab.Uninstalled(t, "node-1")}
	if _, err := p.Kubectl(t.Context(), "create", "namespace", lab.System); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the stand-in of OpenShift to be there", func() error {
		_, err := p.Kubectl(t.Context(), "apply", "-f", "testdata/openshift.yaml")
		return err
	})
	lab.Eventually(t, "its policies to be in force", func() error {
		for user, ok := range map[int64]bool{0: true, 65532: false} {
			if err := p.tryPod(t, user); (err == nil) != ok {
				return fmt.Errorf("a pod with user %d: %v", user, err)
			}
		}
		return nil
	})
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Namespace(t, "shop", true)
	var pulled []string
	for i := range 2 {
		name := fmt.Sprint("app-", i)
		image := p.Push(t, "shop/"+name+":v1", images.Image{Seed: uint64(630 + i)})
		p.Deploy(t, "shop", lab.Deployment(name, image, 0))
		p.WaitState(t, image, "Ready")
		pulled = append(pulled, image)
	}
	for _, pod := range append(p.PrepullPods(t), p.Managers(t)...) {
		if user := pod.Spec.SecurityContext.RunAsUser; user == nil || *user != 1000660000 {
			t.Errorf("pod %s runs as %v", pod.Name, user)
		}
	}
	// A change that would move the first image into a volume has been made: the second one.
	for _, ds := range p.DaemonSets(t) {
		if brought := len(ds.Spec.Template.Spec.InitContainers) - 1; brought != len(pulled) {
			t.Errorf("%s brings %d of %d images", ds.Name, brought, len(pulled))
		}
	}
}

// tryPod creates a pod beside the managers as a dry run; it names no user if that is 0.
func (p product) tryPod(t *testing.T, user int64) error {
	pod := lab.PodOn("", "probe", "registry.invalid/probe:v1")
	pod.Namespace = lab.System
	if user != 0 {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user}
	}
	_, err := p.Client().CoreV1().Pods(lab.System).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// TestPrepullPodsThatAreRefused has a quota with room for nothing but the managers: the image says so in the API server's words,
// and comes once the quota is gone.
func TestPrepullPodsThatAreRefused(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "shop", true)
	quotas := p.Client().CoreV1().ResourceQuotas(lab.System)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "tiny"}}
	quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}
	if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = quotas.Delete(context.Background(), "tiny", metav1.DeleteOptions{}) })
	lab.Eventually(t, "the quota to count", func() error {
		counted, err := quotas.Get(t.Context(), "tiny", metav1.GetOptions{})
		if err == nil && len(counted.Status.Hard) == 0 {
			err = errors.New("it does not yet")
		}
		return err
	})
	image := p.Push(t, "shop/refused:v1", images.Image{Seed: 640})
	p.Deploy(t, "shop", lab.Deployment("refused", image, 0))
	k := lab.PluginFor(t, p.Cluster)
	lab.Eventually(t, "the plugin to say why there are no prepull pods", func() error {
		if out, _, _ := k.Run(t, "explain", image); !strings.Contains(out, "exceeded quota: tiny") {
			return errors.New(out)
		}
		return nil
	})
	if err := quotas.Delete(t.Context(), "tiny", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.WaitState(t, image, "Ready")
}

// enforcer is the name of AKS's admissions enforcer as an owner of fields.
const enforcer = "admissionsenforcer"

// enforce does what AKS does to a webhook configuration, unless its annotation forbids it: an expression more in every
// namespaceSelector.
func enforce(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	configurations := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	stored, err := configurations.Get(t.Context(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if stored.Annotations["admissions.enforcer/disabled"] == "true" {
		return
	}
	for i := range stored.Webhooks {
		selector := stored.Webhooks[i].NamespaceSelector
		selector.MatchExpressions = append(selector.MatchExpressions,
			metav1.LabelSelectorRequirement{Key: "control-plane", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"true"}},
			metav1.LabelSelectorRequirement{Key: "kubernetes.azure.com/managedby", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"aks"}})
	}
	if _, err := configurations.Update(t.Context(), stored, metav1.UpdateOptions{FieldManager: enforcer}); err != nil {
		t.Fatal(err)
	}
}

// TestAnUpgradeBesideTheAdmissionsEnforcer upgrades the release where AKS's enforcer looks at webhooks: it leaves ours alone.
// A release from before it was told to is upgraded as the docs say.
func TestAnUpgradeBesideTheAdmissionsEnforcer(t *testing.T) {
	t.Parallel()
	c := lab.UpCluster(t, cluster.Options{ControlPlaneOnly: true})
	install := func(args ...string) error {
		return lab.Install(t.Context(), c, "aks.invalid", append([]string{"--wait=hookOnly"}, args...)...)
	}
	if err := install(); err != nil {
		t.Fatal(err)
	}
	enforce(t, c)
	if err := install("--set", "replicas=3"); err != nil {
		t.Fatalf("an upgrade beside the enforcer: %v", err)
	}

	untold := []byte(`{"metadata":{"annotations":{"admissions.enforcer/disabled":null}}}`)
	if _, err := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), "kube-prepull", types.MergePatchType, untold, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	enforce(t, c)
	if err := install("--set", "replicas=2"); err == nil || !strings.Contains(err.Error(), enforcer) {
		t.Fatalf("an upgrade over what the enforcer wrote: %v", err)
	}
	if err := install("--set", "replicas=2", "--force-conflicts"); err != nil {
		t.Fatalf("an upgrade that takes the fields back: %v", err)
	}
	enforce(t, c)
	if err := install("--set", "replicas=3"); err != nil {
		t.Fatalf("an upgrade after that: %v", err)
	}
}
