package nodeclass

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// BenchmarkClassify is of 5,000 nodes in 12 shapes and 1,000 images with a dozen different placements.
func BenchmarkClassify(b *testing.B) {
	var nodes []corev1.Node
	for i := range 5000 {
		n := prepulltest.Node(fmt.Sprintf("node-%04d", i*7919%5000), []string{"amd64", "arm64"}[i%2])
		n.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("zone-%d", i/2%3)
		n.Labels["pool"] = []string{"general", "gpu"}[i/6%2]
		if n.Labels["pool"] == "gpu" {
			n.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "true", Effect: corev1.TaintEffectNoSchedule}}
		}
		for _, key := range []string{"beta.kubernetes.io/os", "failure-domain.example.com/zone", "node.kubernetes.io/instance-type", "example.com/team", "example.com/generation", "example.com/image"} {
			n.Labels[key] = "same"
		}
		nodes = append(nodes, n)
	}
	var wanted [][]v1alpha1.Placement
	for i := range 1000 {
		p := v1alpha1.Placement{}
		switch i % 4 {
		case 1:
			p.NodeSelector = map[string]string{corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3)}
		case 2:
			p.NodeAffinity = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				Require("pool", corev1.NodeSelectorOpIn, "gpu"), Require("size", corev1.NodeSelectorOpDoesNotExist),
				Require(corev1.LabelTopologyZone, corev1.NodeSelectorOpNotIn, fmt.Sprintf("zone-%d", i%5)),
			}}}}
			p.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
		case 3:
			p.NodeSelector = map[string]string{corev1.LabelArchStable: []string{"amd64", "arm64", "s390x"}[i%3]}
		}
		wanted = append(wanted, []v1alpha1.Placement{p})
	}
	if got := classify(nodes, wanted, 30, prepulltest.Noon); len(got.Classes) != 12 {
		b.Fatalf("%d classes", len(got.Classes))
	}
	b.ReportAllocs()
	for b.Loop() {
		classify(nodes, wanted, 30, prepulltest.Noon)
	}
}

// BenchmarkTooManyClasses is of 10,000 nodes in racks and pools, of which there are more than there may be classes, with 100 labels
// that workloads of 50 namespaces ask for, some of them with pull secrets.
func BenchmarkTooManyClasses(b *testing.B) {
	var nodes []corev1.Node
	for i := range 10_000 {
		n := prepulltest.Node(fmt.Sprintf("node-%05d", i), "amd64")
		for key := range 100 {
			n.Labels[fmt.Sprintf("key-%d", key)] = fmt.Sprint(i * 7919 % (key*key + 1))
		}
		nodes = append(nodes, n)
	}
	var images []Image
	for i := range 5000 {
		namespace := fmt.Sprint("tenant-", i%50)
		image := Image{Namespaces: []string{namespace}, Placements: []v1alpha1.Placement{{NodeSelector: map[string]string{fmt.Sprintf("key-%d", i%100): fmt.Sprint(i / 100 % 8)}}}}
		if i%10 == 0 {
			image.PullSecrets = []v1alpha1.SecretReference{{Namespace: namespace, Name: fmt.Sprint("login-", i%20)}}
		}
		images = append(images, image)
	}
	b.ReportAllocs()
	for b.Loop() {
		Classify(nodes, images, 30, prepulltest.Noon)
	}
}
