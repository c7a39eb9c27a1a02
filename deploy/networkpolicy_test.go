package deploy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Every pod that the chart makes, and prepull pods, against the policies: who may come in, and whether they may go out. Somebody
// else's policy may deny everything in the namespace: only what is said here is open then.
func TestPoliciesLetInWhoHasBusinessThere(t *testing.T) {
	t.Parallel()
	narrow := "networkPolicy.webhookFrom[0].ipBlock.cidr=10.0.0.0/28,networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus," +
		"networkPolicy.egress[0].ports[0].port=443"
	tests := map[string]struct {
		values []string
		want   map[string]string
	}{
		"as installed": {nil, map[string]string{
			"manager": "9443: anybody; 8080: check pods, all namespaces; 8081: anybody; out: anywhere",
			"prepull": "out: nowhere",
			"check":   "out: anywhere",
			"cleanup": "out: anywhere",
		}},
		"narrowed": {[]string{"--set", narrow}, map[string]string{
			"manager": "9443: check pods, 10.0.0.0/28; 8080: check pods, app=prometheus; 8081: anybody; out: by 1 rule",
			"prepull": "out: nowhere",
			"check":   "out: anywhere",
			"cleanup": "out: anywhere",
		}},
		"metrics for everybody": {[]string{"--set-json", "networkPolicy.metricsFrom=[]"}, map[string]string{
			"manager": "9443: anybody; 8080: anybody; 8081: anybody; out: anywhere",
			"prepull": "out: nowhere",
			"check":   "out: anywhere",
			"cleanup": "out: anywhere",
		}},
		"no metrics": {[]string{"--set-string", "config.metricsAddress=0"}, map[string]string{
			"manager": "9443: anybody; 8081: anybody; out: anywhere",
			"prepull": "out: nowhere",
			"check":   "out: anywhere",
			"cleanup": "out: anywhere",
		}},
		"none": {[]string{"--set", "networkPolicy.enabled=false"}, map[string]string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := decode(t, render(t, tt.values...))
			got := map[string]string{}
			for _, policy := range all[*networkingv1.NetworkPolicy](objects) {
				selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
				if err != nil {
					t.Fatal(err)
				}
				for pod, set := range podLabels(t, objects) {
					if selector.Matches(set) {
						got[pod] += inWords(policy.Spec)
					}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("policies (-want +got):\n%s", diff)
			}
		})
	}
}

// podLabels are those of every kind of pod that the namespace has.
func podLabels(t *testing.T, objects []client.Object) map[string]labels.Set {
	return map[string]labels.Set{
		"manager": only[*appsv1.Deployment](t, objects).Spec.Template.Labels,
		"cleanup": only[*batchv1.Job](t, objects).Spec.Template.Labels,
		"check":   only[*corev1.Pod](t, objects).Labels,
		"prepull": {v1alpha1.LabelName: v1alpha1.Name, v1alpha1.LabelComponent: v1alpha1.ComponentPrepull},
	}
}

// inWords is what a policy says.
func inWords(spec networkingv1.NetworkPolicySpec) string {
	var words []string
	for _, rule := range spec.Ingress {
		from := []string{"anybody"}
		if len(rule.From) > 0 {
			from = nil
		}
		for _, peer := range rule.From {
			switch {
			case peer.IPBlock != nil:
				from = append(from, peer.IPBlock.CIDR)
			case peer.NamespaceSelector != nil && len(peer.NamespaceSelector.MatchLabels) == 0:
				from = append(from, "all namespaces")
			case peer.PodSelector.MatchLabels[v1alpha1.LabelComponent] == "check":
				from = append(from, "check pods")
			default:
				from = append(from, labels.Set(peer.PodSelector.MatchLabels).String())
			}
		}
		words = append(words, fmt.Sprintf("%s: %s", rule.Ports[0].Port, strings.Join(from, ", ")))
	}
	out := fmt.Sprintf("by %d rule", len(spec.Egress))
	switch {
	case !slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress):
		out = "as others say"
	case len(spec.Egress) == 0:
		out = "nowhere"
	case slices.ContainsFunc(spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool { return len(rule.To)+len(rule.Ports) == 0 }):
		out = "anywhere"
	}
	return strings.Join(append(words, "out: "+out), "; ")
}
