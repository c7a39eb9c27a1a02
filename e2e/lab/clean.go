package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	getOptions  = metav1.GetOptions{}
	listOptions = metav1.ListOptions{}
)

// cleanTime is when a new cluster comes sooner than the end of the old one's cleaning.
const cleanTime = time.Minute

// leasedNodes are the nodes of a cluster that is leased.
var leasedNodes = []string{"node-1", "node-2"}

// clean takes away what a test has added, and returns once kube-prepull has let go of it. An error says what stays.
func (p *Product) clean() error {
	ctx := context.Background()
	namespaces, err := p.Client().CoreV1().Namespaces().List(ctx, listOptions)
	if err != nil {
		return err
	}
	for _, namespace := range namespaces.Items {
		if isInitial(namespace.Name) || namespace.DeletionTimestamp != nil {
			continue
		}
		if err := p.Client().CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	if err := p.Images.DeleteCollection(ctx, metav1.DeleteOptions{}, listOptions); err != nil {
		return err
	}
	now := int64(0)
	if err := p.Client().CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, listOptions); err != nil {
		return err
	}
	if err := p.removeNodes(ctx); err != nil {
		return err
	}
	return until(cleanTime, func() error { return p.isClean(ctx) })
}

// removeNodes takes away the nodes that a test has added.
func (p *Product) removeNodes(ctx context.Context) error {
	nodes, err := p.Client().CoreV1().Nodes().List(ctx, listOptions)
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		switch {
		case slices.Contains(leasedNodes, node.Name):
		case node.Labels["type"] == "kwok":
			err = p.Client().CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{})
		default:
			err = p.RemoveNode(ctx, node.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isClean returns an error as long as anything of a test is there.
func (p *Product) isClean(ctx context.Context) error {
	namespaces, err := p.Client().CoreV1().Namespaces().List(ctx, listOptions)
	if err != nil {
		return err
	}
	for _, namespace := range namespaces.Items {
		if !isInitial(namespace.Name) {
			return errors.New("there is namespace " + namespace.Name)
		}
	}
	// An admission that was under way may have taught one more image.
	list, err := p.Images.List(ctx, listOptions)
	if err != nil {
		return err
	}
	if len(list.Items) > 0 {
		_ = p.Images.DeleteCollection(ctx, metav1.DeleteOptions{}, listOptions)
		return fmt.Errorf("there are %d PrepullImages", len(list.Items))
	}
	sets, err := p.Client().AppsV1().DaemonSets(System).List(ctx, listOptions)
	if err != nil {
		return err
	}
	if len(sets.Items) > 0 {
		return fmt.Errorf("there are %d DaemonSets", len(sets.Items))
	}
	managers, err := p.managerPods(ctx)
	if err != nil {
		return err
	}
	for _, pod := range managers {
		if pod.DeletionTimestamp != nil || !PodRunning(&pod) {
			return fmt.Errorf("manager %s does not run", pod.Name)
		}
	}
	if len(managers) != 2 {
		return fmt.Errorf("there are %d managers", len(managers))
	}
	return p.plainNodes(ctx)
}

// plainNodes returns an error unless the nodes are as they joined.
func (p *Product) plainNodes(ctx context.Context) error {
	nodes, err := p.Client().CoreV1().Nodes().List(ctx, listOptions)
	if err != nil {
		return err
	}
	var names []string
	for _, node := range nodes.Items {
		if len(node.Spec.Taints) > 0 || node.Spec.Unschedulable {
			return fmt.Errorf("node %s has taints %v", node.Name, node.Spec.Taints)
		}
		names = append(names, node.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, leasedNodes) {
		return fmt.Errorf("there are nodes %v", names)
	}
	return nil
}

// managerPods are the pods of managers, whatever they do.
func (p *Product) managerPods(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := p.Client().CoreV1().Pods(System).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
	if err != nil {
		return nil, fmt.Errorf("listing managers: %w", err)
	}
	return pods.Items, nil
}

// explain shows what the managers and the prepull pods of a failed test say.
func (p *Product) explain(t *testing.T) {
	for _, args := range [][]string{
		{"logs", "--namespace=" + System, "--selector=app.kubernetes.io/component=webhook", "--tail=25", "--prefix"},
		{"logs", "--namespace=" + System, "--selector=app.kubernetes.io/component=webhook", "--tail=10", "--prefix", "--previous", "--ignore-errors"},
		{"get", "pods,daemonsets,nodes", "--all-namespaces", "--output=wide"},
		{"get", "prepullimages"},
	} {
		output, err := p.Kubectl(context.Background(), args...)
		t.Logf("kubectl %s (%v):\n%s", args[0], err, output)
	}
}
