package generate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// ofNode is a pod as the DaemonSet controller makes it.
func ofNode(node, more string) string {
	return "kind: Pod\nmetadata: {name: d-" + node + more + "}\nspec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " +
		"{nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [" + node + "]}]}]}}}, nodeName: " + node + ", containers: [{image: d:1}]}\nstatus: {phase: Running}\n"
}

func controlledBy(kind, name string) string {
	return ", ownerReferences: [{controller: true, kind: " + kind + ", name: " + name + "}]"
}

func TestALiveClusterIsItsWorkloads(t *testing.T) {
	t.Parallel()
	web := v1alpha1.Placement{NodeSelector: map[string]string{"pool": "web"}}
	const spec = "spec: {replicas: 1, template: {spec: {nodeSelector: {pool: web}, containers: [{image: d:1}]}}}\n"
	const one = "spec: {replicas: 1, template: {spec: {containers: [{image: other:1}]}}}\n"
	for name, test := range map[string]struct {
		documents []string
		images    []workload.Image
		notes     []string
	}{
		"pods of a DaemonSet": {
			[]string{ofNode("n1", ""), ofNode("n2", controlledBy("DaemonSet", "d"))},
			[]workload.Image{{Name: "d:1", Placements: []v1alpha1.Placement{{}}}}, nil,
		},
		"pods beside their DaemonSet": {
			[]string{"kind: DaemonSet\nmetadata: {name: d}\n" + spec, ofNode("n1", controlledBy("DaemonSet", "d")), ofNode("n2", controlledBy("DaemonSet", "d"))},
			[]workload.Image{{Name: "d:1", Placements: []v1alpha1.Placement{web}}}, nil,
		},
		"a Deployment, its ReplicaSets and a pod with a sidecar": {
			[]string{
				"kind: Deployment\nmetadata: {name: d}\n" + spec,
				"kind: ReplicaSet\nmetadata: {name: d-2" + controlledBy("Deployment", "d") + "}\n" + spec,
				"kind: ReplicaSet\nmetadata: {name: d-1" + controlledBy("Deployment", "d") + "}\n" + strings.NewReplacer("d:1", "d:0", "replicas: 1", "replicas: 0").Replace(spec),
				"kind: Pod\nmetadata: {name: d-2-x" + controlledBy("ReplicaSet", "d-2") + "}\nspec: {nodeSelector: {pool: web, zone: a}, containers: [{image: d:1}, {image: sidecar:1}]}\n",
			},
			[]workload.Image{{Name: "d:1", Placements: []v1alpha1.Placement{web}}, {Name: "sidecar:1", Placements: []v1alpha1.Placement{web}}},
			[]string{"ReplicaSet d-1 is left out: it has no pods any more"},
		},
		"what has finished, or goes": {
			[]string{
				"kind: Deployment\nmetadata: {name: other}\n" + one,
				"kind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: x:1}]}\nstatus: {phase: Succeeded}\n",
				"kind: Pod\nmetadata: {name: b}\nspec: {containers: [{image: x:2}]}\nstatus: {phase: Failed}\n",
				"kind: Job\nmetadata: {name: j}\nspec: {template: {spec: {containers: [{image: x:3}]}}}\nstatus: {conditions: [{type: Complete, status: \"True\"}]}\n",
				"kind: Pod\nmetadata: {name: c, deletionTimestamp: \"2026-01-01T00:00:00Z\"}\nspec: {containers: [{image: x:4}]}\n",
				"kind: ControllerRevision\nmetadata: {name: r}\ndata: {spec: {template: {spec: {containers: [{image: x:5}]}}}}\n",
			},
			[]workload.Image{{Name: "other:1", Placements: []v1alpha1.Placement{{}}}},
			[]string{"Pod a and 2 more are left out: it has finished", "Pod c is left out: it is being deleted"},
		},
		"a Deployment without replicas of its own, which may come back": {
			[]string{"kind: Deployment\nmetadata: {name: z}\nspec: {replicas: 0, template: {spec: {containers: [{image: z:1}]}}}\n"},
			[]workload.Image{{Name: "z:1", Placements: []v1alpha1.Placement{{}}}}, nil,
		},
		"objects that control each other": {
			[]string{"kind: X\nmetadata: {name: a" + controlledBy("X", "b") + "}\n" + one, "kind: X\nmetadata: {name: b" + controlledBy("X", "a") + "}\n" + one},
			[]workload.Image{{Name: "other:1", Placements: []v1alpha1.Placement{{}}}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := found(strings.Join(test.documents, "---\n"), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.images, f.Images); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(test.notes, f.Notes); diff != "" {
				t.Errorf("notes, -want +got:\n%s", diff)
			}
		})
	}
}
