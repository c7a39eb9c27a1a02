package inventory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/pulled"
)

// fewestSerial is how many pulls of a further prepull pod have to wait until that says something about a kubelet.
const fewestSerial = 2

// PullsSideBySide tells whether a node has several prepull pods.
func (f *Fleet) PullsSideBySide() bool {
	return slices.ContainsFunc(f.lists, func(l *list) bool { return len(l.daemonSets) > 1 })
}

// ReadSerialNodes returns the nodes, by name, whose kubelets pull one image after the other although they have several prepull pods:
// in the last hour the pulls of all but the first one waited for others.
func ReadSerialNodes(ctx context.Context, c client.Reader, home string) ([]string, error) {
	var pulls []event
	err := Pages(ctx, c, func() *corev1.EventList { return &corev1.EventList{} }, func(page *corev1.EventList) {
		for i := range page.Items {
			if e, ok := eventOf(&page.Items[i]); ok {
				pulls = append(pulls, e)
			}
		}
	}, client.InNamespace(home), client.MatchingFieldsSelector{Selector: pulled.Selector})
	if err != nil {
		return nil, fmt.Errorf("listing events of prepull pods: %w", err)
	}
	return serialNodes(pulls), nil
}

func serialNodes(pulls []event) []string {
	waited, all := map[string]int{}, map[string]int{}
	for _, e := range pulls {
		if e.Present || !strings.Contains(e.pod, "-lane-") {
			continue
		}
		all[e.Node]++
		if e.Waited-e.Took >= time.Second {
			waited[e.Node]++
		}
	}
	nodes := slices.Sorted(maps.Keys(waited))
	return slices.DeleteFunc(nodes, func(n string) bool { return waited[n] < fewestSerial || waited[n] < all[n] })
}
