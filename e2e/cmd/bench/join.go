package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// joined is what was seen of a node that joins, by the clock of this process: what Kubernetes notes is in whole seconds.
type joined struct {
	created time.Time

	// ready is when each pod of the workload on the node was.
	ready map[string]time.Time

	// released is when the taint was gone; of a node that registers without it, its creation.
	released time.Time

	// lastByte is when the registry sent something last before that.
	lastByte time.Time

	// lastPull is when the kubelet told last that it has pulled an image of the workload.
	lastPull time.Time

	// pulling is set while the condition of the node says so.
	pulling bool
}

// done tells whether a node has all that is waited for.
func (j *joined) done(pods int) bool {
	return !j.released.IsZero() && len(j.ready) >= pods
}

// pods is how long after the creation of the node its pods were Ready.
func (j *joined) pods() []time.Duration {
	var took []time.Duration
	for _, at := range j.ready {
		took = append(took, at.Sub(j.created))
	}
	return took
}

// join has nodes join at the same time, and returns when each has its images, so many pods Ready and no taint of the gate.
// together is how many of them pulled at the same time at most.
func (n *newNodes) join(ctx context.Context, names []string, pods int, taints ...corev1.Taint) (joins map[string]*joined, together int, err error) {
	ctx, stop := context.WithTimeout(ctx, joinTimeout)
	defer stop()
	joins = map[string]*joined{}
	for _, name := range names {
		joins[name] = &joined{ready: map[string]time.Time{}}
	}
	events, err := n.watchAll(ctx)
	if err != nil {
		return nil, 0, err
	}
	taints = append(slices.Clone(taints), corev1.Taint{Key: "pool", Value: "web", Effect: corev1.TaintEffectNoSchedule})
	for _, name := range names {
		if err := n.JoinNode(ctx, cluster.Node{Name: name, Labels: web, Taints: taints, Kubelet: n.kubelet}); err != nil {
			return nil, 0, err
		}
	}
	sent, lastByte := n.registry.Counts(shop+"/*").BlobBytes, time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("nodes %v do not get warm: %w", names, ctx.Err())
		case <-tick.C:
			if now := n.registry.Counts(shop + "/*").BlobBytes; now != sent {
				sent, lastByte = now, time.Now()
			}
		case e := <-events:
			see(joins, e, time.Now(), lastByte)
			done, pulling := 0, 0
			for _, j := range joins {
				if j.done(pods) {
					done++
				}
				if j.pulling {
					pulling++
				}
			}
			together = max(together, pulling)
			if done == len(joins) {
				return joins, together, nil
			}
		}
	}
}

// see notes what a watch tells about the nodes.
func see(joins map[string]*joined, e watch.Event, now, lastByte time.Time) {
	switch o := e.Object.(type) {
	case *corev1.Node:
		j := joins[o.Name]
		if j == nil {
			return
		}
		if j.created.IsZero() {
			j.created = now
		}
		if j.released.IsZero() && !slices.ContainsFunc(o.Spec.Taints, func(t corev1.Taint) bool { return t.Key == warming.Key }) {
			j.released, j.lastByte = now, lastByte
		}
		_, reason, _ := imagesReady(o)
		j.pulling = reason == "Pulling"
	case *corev1.Pod:
		j := joins[o.Spec.NodeName]
		if j == nil || o.Namespace != shop || !slices.ContainsFunc(o.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			return
		}
		if _, known := j.ready[o.Name]; !known {
			j.ready[o.Name] = now
		}
	case *corev1.Event:
		if j := joins[o.Source.Host]; j != nil && strings.HasPrefix(o.Message, "Successfully pulled") && strings.Contains(o.Message, "/"+shop+"/") {
			j.lastPull = now
		}
	}
}

// watchAll watches nodes, pods of the workload and Events until the context ends.
func (n *newNodes) watchAll(ctx context.Context) (<-chan watch.Event, error) {
	core := n.Client().CoreV1()
	nodes, nodesErr := core.Nodes().Watch(ctx, metav1.ListOptions{})
	pods, podsErr := core.Pods(shop).Watch(ctx, metav1.ListOptions{})
	told, toldErr := core.Events(metav1.NamespaceAll).Watch(ctx, metav1.ListOptions{FieldSelector: "reason=Pulled"})
	if err := errors.Join(nodesErr, podsErr, toldErr); err != nil {
		return nil, fmt.Errorf("watching the cluster: %w", err)
	}
	all := make(chan watch.Event)
	for _, w := range []watch.Interface{nodes, pods, told} {
		go func() {
			for e := range w.ResultChan() {
				select {
				case all <- e:
				case <-ctx.Done():
				}
			}
		}()
	}
	return all, nil
}
