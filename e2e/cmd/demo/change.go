package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// The office has many small images, of which one changes.
const (
	office   = "office"
	tools    = 30
	toolSize = 1 << 20
)

func toolName(i int) string { return fmt.Sprintf("tool-%02d", i+1) }

func (s *story) toolImage(i int, tag string) string {
	return s.lab.Registry + "/" + office + "/" + toolName(i) + ":" + tag
}

// changeOne brings many small images to all nodes, changes one of them when they are held, and prints what each node had to do.
func (s *story) changeOne(ctx context.Context) error {
	fmt.Fprintln(s.out)
	if err := s.openOffice(ctx); err != nil {
		return fmt.Errorf("opening the office: %w", err)
	}
	applied := time.Now()
	s.say("Namespace %s is labelled, too; %d Deployments with small images are applied.", office, tools)
	if err := s.waitHeld(ctx); err != nil {
		return err
	}
	s.say("All %d are on each node after %.0f s; from now on they are only held.", tools, time.Since(applied).Seconds())
	const one = tools / 2
	image := s.toolImage(one, "v2")
	if _, err := s.lab.Kubectl(ctx, "-n", office, "set", "image", "deployment/"+toolName(one), "app="+image); err != nil {
		return fmt.Errorf("changing an image: %w", err)
	}
	s.say("Deployment %s goes to v2.", toolName(one))
	all, err := s.watchWork(ctx, image)
	if err != nil {
		return err
	}
	s.say("Each node has it.")
	s.workTable(all)
	return nil
}

// openOffice makes the labelled namespace and applies the Deployments. They have no replicas: what is to be seen is what
// nodes do for the list.
func (s *story) openOffice(ctx context.Context) error {
	if err := s.optIn(ctx, office); err != nil {
		return err
	}
	for i := range tools {
		if err := s.deploy(ctx, office, toolName(i), s.toolImage(i, "v1"), 0); err != nil {
			return err
		}
	}
	return nil
}

// waitHeld returns when every image of the office is on all nodes, and the next prepull pods are to hold it.
func (s *story) waitHeld(ctx context.Context) error {
	client, err := dynamic.NewForConfig(s.lab.Config())
	if err != nil {
		return err
	}
	everywhere := fmt.Sprintf("%d/%[1]d", len(nodes))
	return poll(ctx, 10*time.Minute, "the images of the office to be held", func() (bool, error) {
		known, err := client.Resource(prepullImages).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		sets, err := s.lab.Client().AppsV1().DaemonSets("kube-prepull").List(ctx, metav1.ListOptions{LabelSelector: prepullPods})
		if err != nil {
			return false, err
		}
		ready := map[string]string{}
		for _, item := range known.Items {
			image, _, _ := unstructured.NestedString(item.Object, "spec", "image")
			ready[image], _, _ = unstructured.NestedString(item.Object, "status", "ready")
		}
		for i := range tools {
			image := s.toolImage(i, "v1")
			if ready[image] != everywhere || !holdAll(sets.Items, image) {
				return false, nil
			}
		}
		return true, nil
	})
}

func holdAll(sets []appsv1.DaemonSet, image string) bool {
	for i := range sets {
		if !lab.HoldsImage(&sets[i].Spec.Template.Spec, image) {
			return false
		}
	}
	return len(sets) > 0
}

// work is what a node has to do for a new list.
type work struct {
	since         time.Time     // its new prepull pod was first seen
	took          time.Duration // from there until that was Ready
	brought, held int
}

// watchWork returns what each node had to do for the list that an image is new in. It looks several times a second: what
// Kubernetes writes down are whole seconds.
func (s *story) watchWork(ctx context.Context, image string) (map[string]*work, error) {
	all, done := map[string]*work{}, 0
	err := poll(ctx, 5*time.Minute, "each node to have "+image, func() (bool, error) {
		pods, err := s.lab.Client().CoreV1().Pods("kube-prepull").List(ctx, metav1.ListOptions{LabelSelector: prepullPods})
		if err != nil {
			return false, err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			node := pod.Spec.NodeName
			if node == "" || !lab.PullsImage(&pod.Spec, image) {
				continue
			}
			if all[node] == nil {
				all[node] = &work{since: time.Now()}
			}
			if w := all[node]; w.took == 0 && isReady(pod) {
				w.took = time.Since(w.since)
				w.brought, w.held = divisionOf(&pod.Spec)
				done++
			}
		}
		return done == len(nodes), nil
	})
	return all, err
}

// divisionOf is how many images a prepull pod brings, and how many it holds. Its first init container installs what brings them.
func divisionOf(spec *corev1.PodSpec) (brought, held int) {
	for _, v := range spec.Volumes {
		if v.Image != nil {
			held++
		}
	}
	return len(spec.InitContainers) - 1, held
}

func (s *story) workTable(all map[string]*work) {
	fmt.Fprintf(s.out, "\nOne of %d small images changes; what each node has to do, and the seconds that its new prepull pod takes to be Ready:\n\n", tools)
	w := tabwriter.NewWriter(s.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tIMAGES IN ITS LIST\tBROUGHT\tONLY HELD\tBUSY")
	for _, node := range nodes {
		done := all[node]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", node, done.brought+done.held, done.brought, done.held, seconds(done.took))
	}
	w.Flush()
}
