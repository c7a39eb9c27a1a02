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

// TestPrepullPodsThatAreRefused has, one after the other, what lets no prepull pod in: the image and the plugin say so in the API
// server's words, and the image comes once it is gone.
func TestPrepullPodsThatAreRefused(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "shop", true)
	k := lab.PluginFor(t, p.Cluster)
	for i, r := range refusals {
		words, lift := r.words, r.refuse(t, p)
		image := p.Push(t, fmt.Sprintf("shop/refused-%d:v1", i), images.Image{Seed: uint64(640 + i)})
		p.Deploy(t, "shop", lab.Deployment(fmt.Sprint("refused-", i), image, 0))
		for _, command := range [][]string{{"explain", image}, {"status"}, {"nodes"}} {
			lab.Eventually(t, "the plugin to say why there are no prepull pods", func() error {
				if out, _, _ := k.Run(t, command...); !strings.Contains(out, words) {
					return fmt.Errorf("%s says:\n%s", command[0], out)
				}
				return nil
			})
		}
		lab.Eventually(t, "the condition to say it", func() error {
			if _, reason, message := lab.Condition(p.PrepullImage(t, image), "Ready"); reason != "PodsRefused" || !strings.Contains(message, words) {
				return fmt.Errorf("%s: %s", reason, message)
			}
			return nil
		})
		lift()
		p.WaitState(t, image, "Ready")
		lab.Eventually(t, "nobody to speak of it any more", func() error {
			if out, _, _ := k.Run(t, "status"); strings.Contains(out, words) {
				return errors.New(out)
			}
			return nil
		})
	}
	p.Configure(t) // off the network of the nodes again, in a namespace that does not allow it
}

// refusals are what in the namespace of kube-prepull keeps prepull pods from being made, and what the API server says of it.
var refusals = []struct {
	words  string
	refuse func(*testing.T, product) (lift func())
}{
	{"exceeded quota: tiny", func(t *testing.T, p product) func() {
		quotas := p.Client().CoreV1().ResourceQuotas(lab.System)
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "tiny"}}
		quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}
		if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		lab.Eventually(t, "the quota to count", func() error {
			counted, err := quotas.Get(t.Context(), "tiny", metav1.GetOptions{})
			if err == nil && len(counted.Status.Hard) == 0 {
				err = errors.New("it does not yet")
			}
			return err
		})
		return lifting(t, func(ctx context.Context) error { return quotas.Delete(ctx, "tiny", metav1.DeleteOptions{}) })
	}},
	{"minimum cpu usage per Container is 100m", func(t *testing.T, p product) func() {
		ranges := p.Client().CoreV1().LimitRanges(lab.System)
		r := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "large"}}
		r.Spec.Limits = []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Min: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}}}
		if _, err := ranges.Create(t.Context(), r, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		return lifting(t, func(ctx context.Context) error { return ranges.Delete(ctx, "large", metav1.DeleteOptions{}) })
	}},
	// Prepull pods are as Pod Security asks at its strictest, unless they are on the network of their node.
	{`violates PodSecurity "restricted:latest"`, func(t *testing.T, p product) func() {
		enforce := func(ctx context.Context, level string) error {
			patch := fmt.Appendf(nil, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%q}}}`, level)
			_, err := p.Client().CoreV1().Namespaces().Patch(ctx, lab.System, types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		}
		if err := enforce(t.Context(), "privileged"); err != nil {
			t.Fatal(err)
		}
		upgrade := []string{"upgrade", "kube-prepull", lab.Source("deploy/chart"), "--namespace", lab.System, "--reuse-values", "--set", "config.hostNetwork=true", "--wait", "--timeout", "3m"}
		if err := lab.Helm(t.Context(), p.Cluster, upgrade...); err != nil {
			t.Fatal(err)
		}
		lab.Eventually(t, "prepull pods to be on the network of their nodes", func() error {
			for _, ds := range p.DaemonSets(t) {
				if !ds.Spec.Template.Spec.HostNetwork {
					return fmt.Errorf("%s is not", ds.Name)
				}
			}
			return nil
		})
		if err := enforce(t.Context(), "restricted"); err != nil {
			t.Fatal(err)
		}
		return lifting(t, func(ctx context.Context) error { return enforce(ctx, "privileged") })
	}},
}

// lifting is what ends a refusal, in the end at the latest.
func lifting(t *testing.T, lift func(context.Context) error) func() {
	t.Helper()
	t.Cleanup(func() { _ = lift(context.Background()) })
	return func() {
		t.Helper()
		if err := lift(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
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
