package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// OneForEachNode waits until exactly these nodes have a prepull pod, one each and ready, and returns their UIDs by node.
func (p *Product) OneForEachNode(t *testing.T, nodes ...string) map[string]types.UID {
	t.Helper()
	nodes = slices.Sorted(slices.Values(nodes))
	var uids map[string]types.UID
	Eventually(t, "one prepull pod for each node", func() error {
		uids = map[string]types.UID{}
		pods := p.PrepullPods(t)
		for _, pod := range pods {
			if !PodRunning(&pod) {
				return fmt.Errorf("the pod of %s is not ready", pod.Spec.NodeName)
			}
			uids[pod.Spec.NodeName] = pod.UID
		}
		if got := slices.Sorted(maps.Keys(uids)); !slices.Equal(got, nodes) || len(pods) != len(nodes) {
			return fmt.Errorf("%d pods on %v, want %v", len(pods), got, nodes)
		}
		return nil
	})
	return uids
}

// Generations are those of the prepull DaemonSets, by name.
func (p *Product) Generations(t *testing.T) map[string]int64 {
	t.Helper()
	list, err := p.Client().AppsV1().DaemonSets(System).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	generations := map[string]int64{}
	for _, ds := range list.Items {
		generations[ds.Name] = ds.Generation
	}
	return generations
}
