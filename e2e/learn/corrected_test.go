package learn

import (
	"context"
	"fmt"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// mutatePods has the API server change the pods that are created in a namespace, as a mirror policy or an injector does.
func (p product) mutatePods(t *testing.T, namespace, change string) {
	t.Helper()
	policies := p.Client().AdmissionregistrationV1().MutatingAdmissionPolicies()
	bindings := p.Client().AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	fail := admissionregistrationv1.Fail
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	policy.Spec = admissionregistrationv1.MutatingAdmissionPolicySpec{
		FailurePolicy:      &fail,
		ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
		MatchConstraints: &admissionregistrationv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}}},
		},
		Mutations: []admissionregistrationv1.Mutation{{
			PatchType: admissionregistrationv1.PatchTypeJSONPatch, JSONPatch: &admissionregistrationv1.JSONPatch{Expression: change},
		}},
	}
	binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: policy.ObjectMeta}
	binding.Spec.PolicyName = policy.Name
	t.Cleanup(func() {
		_ = bindings.Delete(context.Background(), binding.Name, metav1.DeleteOptions{})
		_ = policies.Delete(context.Background(), policy.Name, metav1.DeleteOptions{})
	})
	if _, err := policies.Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestPodsCorrectTheirTemplates has templates whose image is replaced in pods, and whose pods are kept on a node: what pods run
// is pulled, where they may run, and the rest is not.
func TestPodsCorrectTheirTemplates(t *testing.T) {
	t.Parallel()
	lab.RequireKubernetes(t, lab.MutatingAdmissionPolicies, "MutatingAdmissionPolicies")
	p := product{lab.Shared(t)}
	const namespace = "mirrored"
	p.Namespace(t, namespace, true)
	upstream := p.Push(t, "upstream/app:v1", images.Image{Seed: 311})
	mirror := p.Push(t, "mirror/app:v1", images.Image{Seed: 312})
	idle := p.Push(t, "upstream/idle:v1", images.Image{Seed: 313})
	p.mutatePods(t, namespace, fmt.Sprintf(`[
		JSONPatch{op: "replace", path: "/spec/containers/0/image", value: %q},
		JSONPatch{op: "add", path: "/spec/nodeSelector", value: {"kubernetes.io/hostname": "node-1"}}
	]`, mirror))
	lab.Eventually(t, "the policy to be in force", func() error {
		pod := lab.PodOn("", "probe", idle)
		pod.Namespace = namespace
		stored, err := p.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && stored.Spec.Containers[0].Image != mirror {
			return fmt.Errorf("a pod has %s", stored.Spec.Containers[0].Image)
		}
		return err
	})
	p.Deploy(t, namespace, lab.Deployment("app", upstream, 1))
	p.Deploy(t, namespace, lab.Deployment("gateway", "auto", 2))
	// What has no pod is believed.
	p.Deploy(t, namespace, lab.Deployment("idle", idle, 0))
	watch := lab.StartStopwatch()
	ready := p.WaitState(t, mirror, "Ready")
	p.WaitState(t, upstream, "Skipped: Replaced")
	p.WaitState(t, "auto", "Skipped: Replaced")
	watch.Within(t, time.Minute, "from the Deployments to the end of what no pod runs")
	p.WaitState(t, idle, "Ready")
	if p.Listed(t, upstream) || p.Listed(t, "auto") {
		t.Error("what no pod runs is still listed")
	}
	if got, want := lab.Field(ready, "status", "placements"), `[map[nodeSelector:map[kubernetes.io/hostname:node-1]]]`; got != want {
		t.Errorf("its pods may run on %s, want %s", got, want)
	}
	if got := lab.Field(p.PrepullImage(t, upstream), "status", "userCount"); got != "" && got != "0" {
		t.Errorf("it has %q users", got)
	}
	var answer struct{ Message string }
	lab.PluginFor(t, p.Cluster).Asks(t, &answer, "explain", upstream, "-o", "json")
	if want := fmt.Sprintf("No pod runs the image: those of Deployment %s/app run %s in its place.", namespace, mirror); answer.Message != want {
		t.Errorf("explain says %q, want %q", answer.Message, want)
	}
	// A change of the Deployment teaches nothing new.
	patch := []byte(`{"metadata":{"annotations":{"again":"1"}}}`)
	if _, err := p.Client().AppsV1().Deployments(namespace).Patch(t.Context(), "app", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	later := p.Push(t, "upstream/later:v1", images.Image{Seed: 314})
	p.Deploy(t, namespace, lab.Deployment("later", later, 0))
	p.WaitState(t, later, "Ready")
	p.WaitState(t, upstream, "Skipped: Replaced")
}

// TestWhatARolloutDisplacesIsNotInUseForLong is true whatever the interval of the resync.
func TestWhatARolloutDisplacesIsNotInUseForLong(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	const namespace = "displaced"
	p.Namespace(t, namespace, true)
	before, after := p.Push(t, "displaced/app:v1", images.Image{Seed: 321}), p.Push(t, "displaced/app:v2", images.Image{Seed: 322})
	p.Deploy(t, namespace, lab.Deployment("app", before, 1))
	p.WaitUsers(t, before, "1")
	p.WaitRunning(t, namespace)
	watch := lab.StartStopwatch()
	p.setImage(t, namespace, "app", after)
	p.WaitUsers(t, after, "1")
	p.WaitUsers(t, before, "0")
	watch.Within(t, time.Minute, "from a rollout until its former image has no user")
}

// TestALabelThatIsTakenOffForAMoment costs nothing: what was learned stays known, and no prepull pod is replaced.
func TestALabelThatIsTakenOffForAMoment(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	const namespace = "moment"
	p.Namespace(t, namespace, true)
	image := p.Push(t, "moment/app:v1", images.Image{Seed: 331})
	p.Deploy(t, namespace, lab.Deployment("app", image, 1))
	known := p.WaitState(t, image, "Ready").GetUID()
	p.WaitHeld(t, image)
	generations := func() map[string]int64 {
		all := map[string]int64{}
		for _, ds := range p.DaemonSets(t) {
			all[ds.Name] = ds.Generation
		}
		return all
	}
	before := generations()
	label := func(value string) {
		t.Helper()
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"kube-prepull.io/enabled":%s}}}`, value)
		if _, err := p.Client().CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	label(`null`)
	p.WaitUsers(t, image, "0")
	label(`"true"`)
	p.WaitUsers(t, image, "1")
	other := p.Push(t, "moment/other:v1", images.Image{Seed: 332})
	p.Declare(t, "moment-other", other)
	p.WaitState(t, other, "Ready")
	if object := p.PrepullImage(t, image); object == nil || object.GetUID() != known {
		t.Error("the image was forgotten")
	}
	p.WaitHeld(t, image, other)
	for name, was := range before {
		// One list with the other image, and one that holds it.
		if is := generations()[name]; is > was+2 {
			t.Errorf("DaemonSet %s was written %d times", name, is-was)
		}
	}
}
