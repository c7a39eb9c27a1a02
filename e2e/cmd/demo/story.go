package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// story is the course of the demo.
type story struct {
	lab   *lab.Lab
	built string // folder of what build has made
	start time.Time
	out   io.Writer
}

// ware is a Deployment of the shop.
type ware struct {
	name string
	size int64 // of its image; negative: there is no such image
}

var wares = []ware{
	{"checkout", 12 << 20},
	{"storefront", 60 << 20},
	{"recommendations", 250 << 20},
	{"payments", -1},
}

// nodes are all that there are in the end.
var nodes = []string{"node-1", "node-2", "node-3"}

func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

func (s *story) image(name string) string { return s.lab.Registry + "/shop/" + name + ":v1" }

func (s *story) tell(ctx context.Context) error {
	if err := s.pushImages(ctx); err != nil {
		return fmt.Errorf("pushing images: %w", err)
	}
	s.say("All images are in the registry: kube-prepull's, those of a shop, and %d small ones.", tools)
	s.say("Without kube-prepull: a pod of each image on node-1, which has none of them.")
	cold, err := s.startEach(ctx, "default", "node-1", "cold")
	if err != nil {
		return err
	}
	s.say("Installing kube-prepull with Helm.")
	if err := lab.Install(ctx, s.lab.Cluster, s.lab.Registry); err != nil {
		return fmt.Errorf("installing kube-prepull: %w", err)
	}
	s.say("kube-prepull is installed, and ready.")
	seen := s.watch(ctx)
	defer seen.stop()
	if err := s.openShop(ctx); err != nil {
		return fmt.Errorf("opening the shop: %w", err)
	}
	s.say("Namespace shop is labelled kube-prepull.io/enabled=true; 4 Deployments are applied, one with an image that does not exist.")
	if err := seen.wait(ctx, "node-1", "node-2"); err != nil {
		return err
	}
	s.say("Every image that can be pulled is on node-1 and node-2.")
	joined := time.Now()
	if err := s.lab.AddNode(ctx, cluster.Node{Name: "node-3"}); err != nil {
		return err
	}
	s.say("node-3 has joined.")
	if err := seen.wait(ctx, "node-3"); err != nil {
		return err
	}
	s.say("node-3 has the whole list, %.0f s after it was switched on. The shop scales onto it.", time.Since(joined).Seconds())
	warm, err := s.startEach(ctx, "shop", "node-3", "warm")
	if err != nil {
		return err
	}
	seen.stop() // of so many more images it would say too much
	s.table(seen, cold, warm)
	if err := s.printImages(ctx); err != nil {
		return err
	}
	return s.changeOne(ctx)
}

// build makes all that the story pushes, before there is a cluster that would compete with compilers.
func build(ctx context.Context, dir string) error {
	if _, err := cluster.Binaries(ctx, os.Stderr); err != nil {
		return err
	}
	if err := lab.Compile(ctx, os.Stderr); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "Building the images of kube-prepull, and of the shop")
	if err := lab.Build(ctx, dir, lab.Version, 1); err != nil {
		return err
	}
	return images.GoBuild(ctx, lab.Source("e2e/cmd/sleeper"), runtime.GOARCH, filepath.Join(dir, "sleeper"))
}

func (s *story) pushImages(ctx context.Context) error {
	if err := lab.Push(ctx, s.built, s.lab.Registry, lab.Version); err != nil {
		return err
	}
	for i, w := range wares {
		if w.size < 0 {
			continue
		}
		if err := s.push(ctx, "shop/"+w.name, w.size, uint64(i)); err != nil {
			return err
		}
	}
	for i := range tools {
		if err := s.push(ctx, office+"/"+toolName(i), toolSize, uint64(1000+i)); err != nil {
			return err
		}
	}
	for i, name := range []string{"bread", "cake"} { // of docs/tutorial.md
		if err := s.push(ctx, "bakery/"+name, 30<<20, uint64(2000+i)); err != nil {
			return err
		}
	}
	return nil
}

// push makes two images of a size, v1 and v2.
func (s *story) push(ctx context.Context, name string, size int64, seed uint64) error {
	binary := filepath.Join(s.built, "sleeper")
	image := images.Image{Size: size, Seed: seed, User: "1000", Entrypoint: []string{"/sleeper"}, Binaries: map[string]string{"/sleeper": binary}}
	for _, tag := range []string{":v1", ":v2"} {
		if _, err := image.Push(ctx, s.lab.Registry+"/"+name+tag); err != nil {
			return err
		}
		image.Seed += 100
	}
	return nil
}

// openShop makes the labelled namespace and applies the Deployments.
func (s *story) openShop(ctx context.Context) error {
	if err := s.optIn(ctx, "shop"); err != nil {
		return err
	}
	for _, w := range wares {
		if err := s.deploy(ctx, "shop", w.name, s.image(w.name), 1); err != nil {
			return err
		}
	}
	return nil
}

// optIn makes a labelled namespace.
func (s *story) optIn(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kube-prepull.io/enabled": "true"}}}
	_, err := s.lab.Client().CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	return err
}

func (s *story) deploy(ctx context.Context, namespace, name, image string, replicas int32) error {
	labels := map[string]string{"app": name}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
			},
		},
	}
	_, err := s.lab.Client().AppsV1().Deployments(namespace).Create(ctx, deployment, metav1.CreateOptions{})
	return err
}

// startEach starts a pod of each image on a node, one after the other, and returns how long each took to be Ready.
func (s *story) startEach(ctx context.Context, namespace, node, prefix string) (map[string]time.Duration, error) {
	took := map[string]time.Duration{}
	for _, w := range wares {
		if w.size < 0 {
			continue
		}
		var now int64
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: prefix + "-" + w.name, Namespace: namespace,
				Labels: map[string]string{"kube-prepull.io/enabled": "false"}, // it is gone in a moment, and no user
			},
			Spec: corev1.PodSpec{
				NodeName: node, TerminationGracePeriodSeconds: &now,
				Containers: []corev1.Container{{Name: "app", Image: s.image(w.name)}},
			},
		}
		start := time.Now()
		created, err := s.lab.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("starting a pod: %w", err)
		}
		if err := s.waitReady(ctx, created); err != nil {
			return nil, err
		}
		took[w.name] = time.Since(start)
		s.say("  %s is Ready after %.1f s.", w.name, took[w.name].Seconds())
		if err := s.lab.Client().CoreV1().Pods(namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			return nil, fmt.Errorf("deleting a pod: %w", err)
		}
	}
	return took, nil
}

func (s *story) waitReady(ctx context.Context, created *corev1.Pod) error {
	return poll(ctx, 5*time.Minute, "pod "+created.Name+" to be Ready", func() (bool, error) {
		pod, err := s.lab.Client().CoreV1().Pods(created.Namespace).Get(ctx, created.Name, metav1.GetOptions{})
		if err != nil || pod.UID != created.UID {
			return false, err
		}
		return isReady(pod), nil
	})
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func poll(ctx context.Context, timeout time.Duration, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
