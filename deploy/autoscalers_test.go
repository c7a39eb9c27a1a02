package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// tainted is an example that says which taints nodes register with.
type tainted interface{ startupTaints() []corev1.Taint }

// Of the APIs of others, these are the fields that the examples use: one that is misspelt or in the wrong place is not
// among them.
type (
	objectOf[Spec any] struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Spec Spec `json:"spec"`
	}

	nodePool objectOf[struct {
		Template struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec struct {
				NodeClassRef  struct{ Group, Kind, Name string } `json:"nodeClassRef"`
				Requirements  []corev1.NodeSelectorRequirement   `json:"requirements"`
				StartupTaints []corev1.Taint                     `json:"startupTaints"`
			} `json:"spec"`
		} `json:"template"`
		Disruption struct {
			ConsolidationPolicy string          `json:"consolidationPolicy"`
			ConsolidateAfter    metav1.Duration `json:"consolidateAfter"`
		} `json:"disruption"`
	}]

	kubeletConfiguration struct {
		metav1.TypeMeta    `json:",inline"`
		RegisterWithTaints []corev1.Taint `json:"registerWithTaints"`
	}

	nodeRegistration struct {
		Taints []corev1.Taint `json:"taints"`
	}

	joinConfiguration struct {
		metav1.TypeMeta `json:",inline"`
		Discovery       struct {
			BootstrapToken struct {
				APIServerEndpoint string   `json:"apiServerEndpoint"`
				Token             string   `json:"token"`
				CACertHashes      []string `json:"caCertHashes"`
			} `json:"bootstrapToken"`
		} `json:"discovery"`
		NodeRegistration nodeRegistration `json:"nodeRegistration"`
	}

	kubeadmConfigTemplate objectOf[struct {
		Template struct {
			Spec struct {
				JoinConfiguration struct {
					NodeRegistration nodeRegistration `json:"nodeRegistration"`
				} `json:"joinConfiguration"`
			} `json:"spec"`
		} `json:"template"`
	}]

	clusterConfig struct {
		metav1.TypeMeta   `json:",inline"`
		Metadata          struct{ Name, Region string } `json:"metadata"`
		ManagedNodeGroups []struct {
			Name         string            `json:"name"`
			InstanceType string            `json:"instanceType"`
			MinSize      int               `json:"minSize"`
			MaxSize      int               `json:"maxSize"`
			Labels       map[string]string `json:"labels"`
			Taints       []corev1.Taint    `json:"taints"`
		} `json:"managedNodeGroups"`
	}

	nodeConfig struct {
		metav1.TypeMeta `json:",inline"`
		Spec            struct {
			Kubelet struct {
				Config struct {
					RegisterWithTaints []corev1.Taint `json:"registerWithTaints"`
				} `json:"config"`
			} `json:"kubelet"`
		} `json:"spec"`
	}

	nodeReadinessRule objectOf[struct {
		Conditions []struct {
			Type           string                 `json:"type"`
			RequiredStatus corev1.ConditionStatus `json:"requiredStatus"`
		} `json:"conditions"`
		Taint           corev1.Taint         `json:"taint"`
		NodeSelector    metav1.LabelSelector `json:"nodeSelector"`
		EnforcementMode string               `json:"enforcementMode"`
		DryRun          bool                 `json:"dryRun"`
	}]
)

func (o *nodePool) startupTaints() []corev1.Taint             { return o.Spec.Template.Spec.StartupTaints }
func (o *kubeletConfiguration) startupTaints() []corev1.Taint { return o.RegisterWithTaints }
func (o *joinConfiguration) startupTaints() []corev1.Taint    { return o.NodeRegistration.Taints }
func (o *kubeadmConfigTemplate) startupTaints() []corev1.Taint {
	return o.Spec.Template.Spec.JoinConfiguration.NodeRegistration.Taints
}
func (o *nodeConfig) startupTaints() []corev1.Taint        { return o.Spec.Kubelet.Config.RegisterWithTaints }
func (o *nodeReadinessRule) startupTaints() []corev1.Taint { return []corev1.Taint{o.Spec.Taint} }
func (o *clusterConfig) startupTaints() (taints []corev1.Taint) {
	for _, group := range o.ManagedNodeGroups {
		taints = append(taints, group.Taints...)
	}
	return taints
}

var fenced = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestTheExamplesForAutoscalers reads every example of docs/autoscalers.md: ours as Helm and the manager do, those of others
// against the fields above.
func TestTheExamplesForAutoscalers(t *testing.T) {
	t.Parallel()
	const startup = v1alpha1.StartupTaintPrefix + "images"
	kinds := map[string]struct {
		object tainted
		key    string
	}{
		"karpenter.sh/v1 NodePool":                                 {&nodePool{}, v1alpha1.TaintWarming},
		"kubelet.config.k8s.io/v1beta1 KubeletConfiguration":       {&kubeletConfiguration{}, startup},
		"kubeadm.k8s.io/v1beta4 JoinConfiguration":                 {&joinConfiguration{}, startup},
		"bootstrap.cluster.x-k8s.io/v1beta2 KubeadmConfigTemplate": {&kubeadmConfigTemplate{}, startup},
		"eksctl.io/v1alpha5 ClusterConfig":                         {&clusterConfig{}, startup},
		"node.eks.aws/v1alpha1 NodeConfig":                         {&nodeConfig{}, startup},
		"readiness.node.x-k8s.io/v1alpha1 NodeReadinessRule":       {&nodeReadinessRule{}, "readiness.k8s.io/images"},
	}
	left := slices.Collect(maps.Keys(kinds))
	gates := map[string]bool{}
	for _, match := range fenced.FindAllStringSubmatch(string(read(t, "../docs/autoscalers.md")), -1) {
		example := match[1]
		switch comment, _, _ := strings.Cut(example, "\n"); comment {
		case "# values of the chart":
			if gate := gateOfValues(t, example); gate.Enabled {
				gates[gate.TaintKey] = true
			}
			continue
		case "# in the pod template of a DaemonSet":
			checkToleration(t, example, startup)
			continue
		}
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(example), &kind); err != nil {
			t.Fatal(err)
		}
		name := kind.APIVersion + " " + kind.Kind
		known, ok := kinds[name]
		if !ok {
			t.Errorf("nothing is known of %q:\n%s", name, example)
			continue
		}
		left = slices.DeleteFunc(left, func(k string) bool { return k == name })
		if err := yaml.UnmarshalStrict([]byte(example), known.object); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff([]corev1.Taint{{Key: known.key, Effect: corev1.TaintEffectNoSchedule}}, known.object.startupTaints()); diff != "" {
			t.Errorf("%s: taints (-want +got):\n%s", name, diff)
		}
	}
	if len(left) > 0 {
		t.Errorf("there is no example of %q", left)
	}
	if diff := cmp.Diff(map[string]bool{v1alpha1.TaintWarming: true, startup: true, v1alpha1.ReadinessTaintPrefix + "images": true}, gates); diff != "" {
		t.Errorf("gates (-want +got):\n%s", diff)
	}
	if rule := kinds["readiness.node.x-k8s.io/v1alpha1 NodeReadinessRule"].object.(*nodeReadinessRule).Spec; len(rule.Conditions) != 1 ||
		rule.Conditions[0].Type != v1alpha1.ConditionImagesReady || rule.Conditions[0].RequiredStatus != corev1.ConditionTrue {
		t.Errorf("the rule asks for %v", rule.Conditions)
	}
}

// gateOfValues is the gate that a manager has with some values of the chart.
func gateOfValues(t *testing.T, values string) v1alpha1.Gate {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	c := configuration(t, decode(t, render(t, "--values", file)))
	if !c.NodeCondition {
		t.Errorf("the condition is off:\n%s", values)
	}
	return c.Gate
}

func checkToleration(t *testing.T, example, key string) {
	t.Helper()
	var pod struct {
		Tolerations []corev1.Toleration `json:"tolerations"`
	}
	if err := yaml.UnmarshalStrict([]byte(example), &pod); err != nil {
		t.Error(err)
	}
	want := []corev1.Toleration{{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	if diff := cmp.Diff(want, pod.Tolerations); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
}
