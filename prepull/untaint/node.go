// Package untaint takes taints from nodes. It needs a client, and no manager.
package untaint

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// Node takes the taints of a key from a node, whatever their effects, and tells whether there were any. Whatever others
// write at the same time stays, and only who changes taints can make it read the node, in place, and try again.
func Node(ctx context.Context, c client.Client, n *corev1.Node, key string) (bool, error) {
	gate := plan.Gate{Enabled: true, TaintKey: key}
	var refused []byte
	var refusal error
	for {
		taints := gate.TaintsOf(n)
		if len(taints) == 0 {
			return refused != nil, nil
		}
		patch := Patch(n.UID, taints)
		// The taints are as they were: it is a policy of the cluster that refuses, with the same answer.
		if bytes.Equal(patch, refused) {
			return true, refusal
		}
		err := c.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}, client.RawPatch(types.JSONPatchType, patch))
		if !apierrors.IsInvalid(err) {
			return true, err
		}
		refused, refusal = patch, err
		if err := readAgain(ctx, c, n); err != nil {
			return true, err
		}
	}
}

// readAgain reads a node with the permission to list nodes, which everybody here needs anyway.
func readAgain(ctx context.Context, c client.Client, n *corev1.Node) error {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes, client.MatchingFields{metav1.ObjectNameField: n.Name}); err != nil {
		return fmt.Errorf("reading it again: %w", err)
	}
	if len(nodes.Items) == 0 {
		return apierrors.NewNotFound(corev1.Resource("nodes"), n.Name)
	}
	*n = nodes.Items[0]
	return nil
}

// patchOperation of a JSON patch.
type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Patch is a JSON patch that takes taints at some positions from a node. It fails, and changes nothing, if they are not
// there any more because somebody else changed the list, or if the node is another one of the same name.
func Patch(uid types.UID, taints map[int]corev1.Taint) []byte {
	patch := []patchOperation{{"test", "/metadata/uid", uid}}
	positions := slices.Sorted(maps.Keys(taints))
	for _, i := range positions {
		at := fmt.Sprintf("/spec/taints/%d", i)
		patch = append(patch, patchOperation{"test", at + "/key", taints[i].Key}, patchOperation{"test", at + "/effect", taints[i].Effect})
	}
	// From the end, so that the positions of the others stay. What is left of the last one, an empty list, is stored as none.
	for _, i := range slices.Backward(positions) {
		patch = append(patch, patchOperation{Op: "remove", Path: fmt.Sprintf("/spec/taints/%d", i)})
	}
	encoded, _ := json.Marshal(patch) // strings always marshal
	return encoded
}
