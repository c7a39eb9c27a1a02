package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeReadyTimeout is generous: two nodes of a busy machine with two cores need about ten seconds.
const nodeReadyTimeout = 2 * time.Minute

// AddNode switches a new node on and returns when it is Ready.
func (c *Cluster) AddNode(ctx context.Context, node Node) error {
	if err := c.JoinNode(ctx, node); err != nil {
		return err
	}
	return c.waitNodeReady(ctx, node.Name)
}

// JoinNode switches a new node on and does not wait: what happens while a node joins can be watched.
func (c *Cluster) JoinNode(ctx context.Context, node Node) error {
	if err := c.control(ctx, "/nodes", node); err != nil {
		return fmt.Errorf("adding node %s: %w", node.Name, err)
	}
	return nil
}

// StopNode pulls a node's plug: everything on it ends at once, its disk stays.
func (c *Cluster) StopNode(ctx context.Context, name string) error {
	return c.changeNode(ctx, name, "stop")
}

// StartNode switches a stopped node on again and returns when it is Ready.
func (c *Cluster) StartNode(ctx context.Context, name string) error {
	before, err := c.heartbeat(ctx, name)
	if err != nil {
		return err
	}
	if err := c.changeNode(ctx, name, "start"); err != nil {
		return err
	}
	// The API server may not have noticed yet that the node was away: wait for a new sign of life.
	renewed := func(ctx context.Context) (bool, error) {
		now, err := c.heartbeat(ctx, name)
		return now.After(before), err
	}
	if err := poll(ctx, nodeReadyTimeout, 100*time.Millisecond, renewed); err != nil {
		return fmt.Errorf("waiting for node %s to come back: %w", name, err)
	}
	return c.waitNodeReady(ctx, name)
}

// RemoveNode pulls a node's plug, throws its disk away and deletes its Node object, as an autoscaler would.
func (c *Cluster) RemoveNode(ctx context.Context, name string) error {
	if err := c.changeNode(ctx, name, "remove"); err != nil {
		return err
	}
	err := c.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting node %s: %w", name, err)
	}
	return nil
}

func (c *Cluster) changeNode(ctx context.Context, name, verb string) error {
	if err := c.control(ctx, "/nodes/"+name+"/"+verb, nil); err != nil {
		return fmt.Errorf("%s of node %s: %w", verb, name, err)
	}
	return nil
}

// heartbeat is when the node's kubelet last renewed its lease.
func (c *Cluster) heartbeat(ctx context.Context, name string) (time.Time, error) {
	lease, err := c.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && lease.Spec.RenewTime == nil) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the lease of node %s: %w", name, err)
	}
	return lease.Spec.RenewTime.Time, nil
}

func (c *Cluster) waitNodeReady(ctx context.Context, name string) error {
	ready := func(ctx context.Context) (bool, error) {
		if err := c.failure(ctx, name); err != nil {
			return false, err
		}
		node, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && nodeReady(node), err
	}
	err := poll(ctx, nodeReadyTimeout, 100*time.Millisecond, ready)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("node %s is not Ready after %s; the end of its kubelet's log:\n%s", name, nodeReadyTimeout, c.Log(name+"/kubelet"))
	}
	return err
}

// nodeReady asks for the condition, and for the taint of a node that was not Ready to be gone: pods can come now.
func nodeReady(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// waitDefaultServiceAccount returns when pods can be made: the API server refuses them until the controllers run.
func (c *Cluster) waitDefaultServiceAccount(ctx context.Context) error {
	exists := func(ctx context.Context) (bool, error) {
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, c.failure(ctx, "")
		}
		return err == nil, err
	}
	if err := poll(ctx, time.Minute, 50*time.Millisecond, exists); err != nil {
		return fmt.Errorf("waiting for the controller manager: %w", err)
	}
	return nil
}
