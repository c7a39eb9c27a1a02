package place

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestWhatAWorkloadAsksForIsKept labels a namespace with a Deployment that says where it runs, how it pulls, how much it
// matters and that it is scaled, and then moves the Deployment to other nodes.
func TestWhatAWorkloadAsksForIsKept(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "asking", false)
	ctx, client := t.Context(), p.Client()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}}
	if _, err := client.CoreV1().ServiceAccounts("asking").Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "any"}}
	hpa.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "app"}, MaxReplicas: 2,
	}
	if _, err := client.AutoscalingV2().HorizontalPodAutoscalers("asking").Create(ctx, hpa, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	image := p.Push(t, "asking/app:v1", images.Image{Seed: 71})
	plain := p.Push(t, "asking/plain:v1", images.Image{Seed: 72})
	p.Deploy(t, "asking", lab.Deployment("plain", plain, 0))
	d := lab.Deployment("app", image, 1)
	d.Spec.Template.Annotations = map[string]string{"kube-prepull.io/priority": "7"}
	spec := &d.Spec.Template.Spec
	spec.ServiceAccountName = "robot"
	spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	spec.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"}
	spec.Tolerations = []corev1.Toleration{{Key: "team", Value: "asking"}, {Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"node-2", "node-1"}},
		}}},
	}}}
	p.Deploy(t, "asking", d)
	lab.Eventually(t, "the pod of the Deployment", func() error {
		pods, err := client.CoreV1().Pods("asking").List(ctx, metav1.ListOptions{LabelSelector: "app=app"})
		if err == nil && !slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return lab.PodRunning(&pod) }) {
			err = fmt.Errorf("there are %d, none runs", len(pods.Items))
		}
		return err
	})

	optIn := []byte(`{"metadata":{"labels":{"kube-prepull.io/enabled":"true"}}}`)
	if _, err := client.CoreV1().Namespaces().Patch(ctx, "asking", types.MergePatchType, optIn, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	const before = `{"nodeAffinity":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["node-1","node-2"]}]}]},` +
		`"nodeSelector":{"kubernetes.io/os":"linux"},` +
		`"tolerations":[{"effect":"NoSchedule","key":"gpu","operator":"Exists"},{"key":"team","operator":"Equal","value":"asking"}]}`
	const rest = `"priority":7,"pullSecrets":[{"name":"registry","namespace":"asking"}],"userCount":1}`
	p.waitAsked(t, image, `{"alwaysPull":true,"autoscaled":true,"placements":[`+before+`],`+rest)
	p.waitAsked(t, plain, `{"placements":[{}],"userCount":1}`)

	moved := []byte(`{"spec":{"template":{"spec":{"affinity":null,"tolerations":null,"nodeSelector":{"kubernetes.io/hostname":"node-2"}}}}}`)
	if _, err := client.AppsV1().Deployments("asking").Patch(ctx, "app", types.MergePatchType, moved, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	const after = `{"nodeSelector":{"kubernetes.io/hostname":"node-2","kubernetes.io/os":"linux"}}`
	// The learner adds the new place; the resync, which other tests cause, takes the old one away.
	p.waitAsked(t, image, `{"alwaysPull":true,"autoscaled":true,"placements":[`+after+`,`+before+`],`+rest,
		`{"alwaysPull":true,"autoscaled":true,"placements":[`+after+`],`+rest)
}

// waitAsked waits until the status of an image says, in JSON, that its users ask for one of some things.
func (p product) waitAsked(t *testing.T, image string, want ...string) {
	t.Helper()
	lab.Eventually(t, "the demands for "+image, func() error {
		object := p.PrepullImage(t, image)
		if object == nil {
			return fmt.Errorf("it is not known")
		}
		asked := map[string]any{}
		status, _ := object.Object["status"].(map[string]any)
		for _, key := range []string{"placements", "pullSecrets", "priority", "autoscaled", "alwaysPull", "userCount"} {
			if value, ok := status[key]; ok {
				asked[key] = value
			}
		}
		got, err := json.Marshal(asked)
		if err == nil && !slices.Contains(want, string(got)) {
			err = fmt.Errorf("(-want +got):\n%s", cmp.Diff(want[0], string(got)))
		}
		return err
	})
}
