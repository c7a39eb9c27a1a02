package workload

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// asking are containers that request resources.
func asking(lists ...map[string]string) []corev1.Container {
	containers := make([]corev1.Container, len(lists))
	for i, list := range lists {
		containers[i].Resources.Requests = corev1.ResourceList{}
		for name, quantity := range list {
			containers[i].Resources.Requests[corev1.ResourceName(name)] = resource.MustParse(quantity)
		}
	}
	return containers
}

func TestPlacementOf(t *testing.T) {
	t.Parallel()
	seconds := int64(300)
	preferred := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1}},
	}}
	exists := corev1.NodeSelectorRequirement{Key: "ssd", Operator: corev1.NodeSelectorOpExists}
	term := func(r ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: r}
	}
	fields := func(r ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchFields: r}
	}
	for name, test := range map[string]struct {
		spec      corev1.PodSpec
		daemonSet bool
		want      v1alpha1.Placement
	}{
		"nothing":                    {},
		"everything is empty":        {spec: corev1.PodSpec{NodeSelector: map[string]string{}, Tolerations: []corev1.Toleration{}, Affinity: &corev1.Affinity{}}},
		"a node selector":            {spec: corev1.PodSpec{NodeSelector: map[string]string{"a": "b"}}, want: v1alpha1.Placement{NodeSelector: map[string]string{"a": "b"}}},
		"preferences are ignored":    {spec: corev1.PodSpec{Affinity: preferred}},
		"an affinity without a term": {spec: corev1.PodSpec{Affinity: workloadtest.Requiring()}},
		"an affinity that allows none": {
			spec: corev1.PodSpec{Affinity: workloadtest.Requiring(corev1.NodeSelectorTerm{})},
			want: v1alpha1.Placement{NodeAffinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}}},
		},
		"terms, expressions and values are sorted, each once": {
			spec: corev1.PodSpec{Affinity: workloadtest.Requiring(term(exists, workloadtest.InZones("b", "a", "b"), exists), term(exists), term(workloadtest.InZones("a", "b"), exists))},
			want: v1alpha1.Placement{NodeAffinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term(exists), term(exists, workloadtest.InZones("a", "b"))}}},
		},
		"tolerations are sorted, each once, without what does not matter": {
			spec: corev1.PodSpec{Tolerations: []corev1.Toleration{
				{Key: "team", Value: "b", Effect: corev1.TaintEffectNoSchedule},
				{Key: "team", Operator: corev1.TolerationOpEqual, Value: "a", Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds},
				{Key: "team", Operator: corev1.TolerationOpEqual, Value: "b", Effect: corev1.TaintEffectNoSchedule},
				{Key: "soft", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectPreferNoSchedule},
				{Key: "gpu", Operator: corev1.TolerationOpExists},
				{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds},
				{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds},
				{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
			}},
			want: v1alpha1.Placement{Tolerations: []corev1.Toleration{
				{Key: "gpu", Operator: corev1.TolerationOpExists},
				{Key: "team", Operator: corev1.TolerationOpEqual, Value: "a", Effect: corev1.TaintEffectNoExecute},
				{Key: "team", Operator: corev1.TolerationOpEqual, Value: "b", Effect: corev1.TaintEffectNoSchedule},
			}},
		},
		"the node of a DaemonSet's pod": {spec: corev1.PodSpec{Affinity: workloadtest.Requiring(fields(workloadtest.OnNode("n1")))}, daemonSet: true},
		"the node of a DaemonSet's pod, and more of a term": {
			spec: corev1.PodSpec{Affinity: workloadtest.Requiring(corev1.NodeSelectorTerm{
				MatchExpressions: []corev1.NodeSelectorRequirement{exists}, MatchFields: []corev1.NodeSelectorRequirement{workloadtest.OnNode("n1")},
			})},
			daemonSet: true,
			want:      v1alpha1.Placement{NodeAffinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term(exists)}}},
		},
		"the node of another pod": {
			spec: corev1.PodSpec{Affinity: workloadtest.Requiring(fields(workloadtest.OnNode("n1")))},
			want: v1alpha1.Placement{NodeAffinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{fields(workloadtest.OnNode("n1"))}}},
		},
		"a node name: no taint keeps the pod off that the scheduler minds": {
			spec: corev1.PodSpec{NodeName: "n1", Containers: asking(map[string]string{"example.com/gpu": "1"})},
			want: v1alpha1.Placement{NodeAffinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{fields(workloadtest.OnNode("n1"))}}, Tolerations: []corev1.Toleration{
				{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}, {Key: "example.com/gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
			}},
		},
		"a node name, beside what else is asked for": {
			spec: corev1.PodSpec{NodeName: "n1", NodeSelector: map[string]string{"a": "b"}, Affinity: workloadtest.Requiring(term(exists), fields(workloadtest.OnNode("n2")))},
			want: v1alpha1.Placement{
				NodeSelector: map[string]string{"a": "b"},
				NodeAffinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
					fields(workloadtest.OnNode("n1"), workloadtest.OnNode("n2")),
					{MatchExpressions: []corev1.NodeSelectorRequirement{exists}, MatchFields: []corev1.NodeSelectorRequirement{workloadtest.OnNode("n1")}},
				}},
				Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
			},
		},
		"a RuntimeClass": {spec: corev1.PodSpec{RuntimeClassName: ptr.To("gvisor")}, want: v1alpha1.Placement{RuntimeClassName: "gvisor"}},
		"extended resources of all containers, and taints of their names": {
			spec: corev1.PodSpec{InitContainers: asking(map[string]string{"example.com/rdma": "1"}), Containers: asking(map[string]string{"example.com/gpu": "2"}, map[string]string{"example.com/gpu": "1"})},
			want: v1alpha1.Placement{Resources: []string{"example.com/gpu", "example.com/rdma"}, Tolerations: []corev1.Toleration{
				{Key: "example.com/gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
				{Key: "example.com/rdma", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
			}},
		},
		"a limit is a request": {
			spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}}}}},
			want: v1alpha1.Placement{Resources: []string{"example.com/gpu"}, Tolerations: []corev1.Toleration{{Key: "example.com/gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}},
		},
		"what every node has, and nothing of a resource": {
			spec: corev1.PodSpec{Containers: asking(map[string]string{
				"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi", "hugepages-2Mi": "2Mi", "pods": "1", "gpu": "1", "example.com/none": "0",
				"kubernetes.io/x": "1", "deviceclass.resource.kubernetes.io/gpu": "1", "requests.example.com/gpu": "1", "example.com/not a name": "1",
			})},
		},
		"too large to keep": {
			spec: corev1.PodSpec{Affinity: workloadtest.RequireZones([]string{strings.Repeat("z", maxPlacementBytes)})}, want: Anywhere(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := test.spec.DeepCopy()
			got := PlacementOf(&test.spec, test.daemonSet)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("placementOf (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, &test.spec); diff != "" {
				t.Errorf("the spec changed (-was +is):\n%s", diff)
			}
		})
	}
}

// A pod has what admission adds to its template, and the placement of the template all the same.
func TestAPodHasThePlacementOfItsTemplate(t *testing.T) {
	t.Parallel()
	d := workloadtest.Deployment("api", "app:v1")
	spec := &d.Spec.Template.Spec
	spec.NodeSelector = map[string]string{"pool": "a"}
	spec.Affinity = workloadtest.RequireZones([]string{"b", "a"}, []string{"c"})
	spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
	pod := workloadtest.RolledOut("api", "app:v1")
	pod.Spec = *spec.DeepCopy()
	pod.Spec.NodeName = "n1"
	seconds := int64(300)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		added := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, added)
	}
	if diff := cmp.Diff(RequirementsOf(d, nil).Placement, RequirementsOf(pod, nil).Placement); diff != "" {
		t.Errorf("placement (-template +pod):\n%s", diff)
	}
	ds := &appsv1.DaemonSet{ObjectMeta: workloadtest.InShop("agent")}
	ds.Spec.Template.Spec = workloadtest.Spec("agent:v1")
	ofDS := workloadtest.Controlled(workloadtest.Pod("agent-x", "agent:v1"), "DaemonSet", "agent")
	ofDS.Spec.Affinity = workloadtest.Requiring(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{workloadtest.OnNode("n1")}})
	ofDS.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists}}
	if diff := cmp.Diff(RequirementsOf(ds, nil).Placement, RequirementsOf(ofDS, nil).Placement); diff != "" {
		t.Errorf("placement (-DaemonSet +pod):\n%s", diff)
	}
}

// Of a stored pod the node is the scheduler's, unless it was created with one, and so is what it took from resource claims; what
// its RuntimeClass asks for is in it.
func TestWhatBecameOfAStoredPodIsNoConstraint(t *testing.T) {
	t.Parallel()
	named := func(fields string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: "kubelet"}, {Manager: "x", FieldsV1: metav1.NewFieldsV1(fields)}}
	}
	onNode := PlacementOf(&corev1.PodSpec{NodeName: "n1"}, false)
	for name, test := range map[string]struct {
		managed []metav1.ManagedFieldsEntry
		claimed []string
		want    v1alpha1.Placement
	}{
		"a node of the scheduler":           {named(`{"f:spec":{"f:schedulerName":{}}}`), nil, v1alpha1.Placement{Resources: []string{"example.com/gpu"}}},
		"a node that the pod was born with": {named(`{"f:spec":{"f:nodeName":{},"f:schedulerName":{}}}`), nil, onNode},
		"a resource of a claim":             {nil, []string{"example.com/gpu"}, v1alpha1.Placement{}},
		"another one of a claim":            {nil, []string{"example.com/nic"}, v1alpha1.Placement{Resources: []string{"example.com/gpu"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := workloadtest.RolledOut("api", "app:v1")
			pod.ManagedFields, pod.Spec.NodeName, pod.Spec.RuntimeClassName = test.managed, "n1", ptr.To("kata")
			pod.Spec.Containers[0].Resources = asking(map[string]string{"example.com/gpu": "1"})[0].Resources
			if test.claimed != nil {
				pod.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{}
				for _, name := range test.claimed {
					pod.Status.ExtendedResourceClaimStatus.RequestMappings = append(pod.Status.ExtendedResourceClaimStatus.RequestMappings, corev1.ContainerExtendedResourceRequest{ResourceName: name})
				}
			}
			got := RequirementsOf(pod, nil).Placement
			got.Tolerations = slices.DeleteFunc(got.Tolerations, func(t corev1.Toleration) bool { return t.Key == "example.com/gpu" })
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("placement (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMergePlacements(t *testing.T) {
	t.Parallel()
	pool := func(names ...string) []v1alpha1.Placement {
		var all []v1alpha1.Placement
		for _, name := range names {
			all = append(all, v1alpha1.Placement{NodeSelector: map[string]string{"pool": name}})
		}
		return all
	}
	anywhere := []v1alpha1.Placement{Anywhere()}
	for name, test := range map[string]struct{ have, more, want []v1alpha1.Placement }{
		"the first":             {nil, pool("a"), pool("a")},
		"a second one":          {pool("b"), pool("a"), pool("a", "b")},
		"one that is there":     {pool("a", "b"), pool("b"), pool("a", "b")},
		"as many as may be":     {pool("a", "b", "c", "d"), pool("h", "g", "f", "e"), pool("a", "b", "c", "d", "e", "f", "g", "h")},
		"too many":              {pool("a", "b", "c", "d", "e", "f", "g", "h"), pool("i"), anywhere},
		"anywhere and one more": {anywhere, pool("a"), anywhere},
		"one, and anywhere":     {pool("a"), anywhere, anywhere},
		"nothing to add":        {pool("a"), nil, pool("a")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, MergePlacements(test.have, test.more)); diff != "" {
				t.Errorf("mergePlacements (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, MergePlacements(test.more, test.have)); diff != "" {
				t.Errorf("the other way round (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzPlacementOf shuffles what has no order in specs of pods: the placement stays the same, is small enough, and is
// read back from JSON as it was.
func FuzzPlacementOf(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		spec := randomConstraints(random)
		want := PlacementOf(&spec, false)
		shuffled := spec.DeepCopy()
		shuffle(random, shuffled.Tolerations)
		terms := shuffled.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		shuffle(random, terms)
		for i := range terms {
			shuffle(random, terms[i].MatchExpressions)
			for _, r := range terms[i].MatchExpressions {
				shuffle(random, r.Values)
			}
		}
		if diff := cmp.Diff(want, PlacementOf(shuffled, false)); diff != "" {
			t.Errorf("another order is another placement (-want +got):\n%s", diff)
		}
		raw, err := json.Marshal(want)
		if err != nil || len(raw) > maxPlacementBytes || string(raw) != PlacementKey(want) {
			t.Errorf("%d bytes of JSON (%v), the key is %s", len(raw), err, PlacementKey(want))
		}
		var back v1alpha1.Placement
		if err := json.Unmarshal(raw, &back); err != nil || !hasPlacement([]v1alpha1.Placement{want}, back) {
			t.Errorf("read back (%v) it is another one:\n%s", err, cmp.Diff(want, back))
		}
	})
}

func randomConstraints(random *rand.Rand) corev1.PodSpec {
	var spec corev1.PodSpec
	for range random.IntN(5) {
		spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
			Key:      []string{"a", "b", corev1.TaintNodeNotReady}[random.IntN(3)],
			Operator: []corev1.TolerationOperator{"", corev1.TolerationOpEqual, corev1.TolerationOpExists}[random.IntN(3)],
			Effect:   []corev1.TaintEffect{"", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule}[random.IntN(3)],
		})
	}
	var terms []corev1.NodeSelectorTerm
	for range random.IntN(4) {
		var term corev1.NodeSelectorTerm
		for range random.IntN(4) {
			r := workloadtest.InZones()
			for range random.IntN(4) {
				r.Values = append(r.Values, fmt.Sprint(random.IntN(3)))
			}
			term.MatchExpressions = append(term.MatchExpressions, r)
		}
		terms = append(terms, term)
	}
	spec.Affinity = workloadtest.Requiring(terms...)
	return spec
}

func shuffle[T any](random *rand.Rand, all []T) {
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
}

func TestMergingLeavesWhatItMergesAlone(t *testing.T) {
	t.Parallel()
	have := append(make([]v1alpha1.Placement, 0, 8), free...) // with room that is somebody else's
	twice := slices.Concat(onGPUs.Placements, onGPUs.Placements)
	if got := MergePlacements(have, twice); len(got) != 2 {
		t.Errorf("%d placements, want each once", len(got))
	}
	if diff := cmp.Diff(free, have); diff != "" {
		t.Errorf("what was there changed (-was +is):\n%s", diff)
	}
}
