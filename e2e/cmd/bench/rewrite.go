package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

const (
	admissions = 300   // of each kind, one after the other
	together   = 1_000 // admissions at the same time
)

// rewrite measures what pinning adds to an admission: each request goes to a namespace that is pinned and, next to it in
// time, to one that no webhook sees. All are dry runs, so that nothing else in the cluster has a part in it.
func (b *bench) rewrite(ctx context.Context) (err error) {
	r, err := lab.Serve(b.Cluster, registry.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for name, mode := range map[string]string{"unseen": "", "pinned": "latest"} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kube-prepull.io/rewrite": mode}}}
		if _, err := b.Client().CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	unlimited := rest.CopyConfig(b.Config())
	unlimited.QPS, unlimited.WarningHandler = -1, rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(unlimited)
	if err != nil {
		return err
	}
	w := &rewriteBench{bench: b, client: client, registry: r}
	for _, measure := range []func(context.Context) error{w.pods, w.remembered, w.oneTag, w.hanging} {
		if err := measure(ctx); err != nil {
			return fmt.Errorf("measuring what pinning adds: %w", err)
		}
	}
	return nil
}

type rewriteBench struct {
	*bench
	client   kubernetes.Interface
	registry *registry.Registry
}

// dryRun times one request.
func dryRun(request func(metav1.CreateOptions) error) (time.Duration, error) {
	start := time.Now()
	err := request(metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return time.Since(start), err
}

// beside makes the same request in both namespaces in turn, and adds both latencies and the ratio of their medians.
func (w *rewriteBench) beside(name, target string, request func(namespace string, o metav1.CreateOptions) error) error {
	took := map[string][]time.Duration{}
	for range admissions {
		for _, namespace := range []string{"unseen", "pinned"} {
			one, err := dryRun(func(o metav1.CreateOptions) error { return request(namespace, o) })
			if err != nil {
				return err
			}
			took[namespace] = append(took[namespace], one)
		}
	}
	milliseconds := func(namespace string, q float64) float64 { return quantile(took[namespace], q).Seconds() * 1e3 }
	for _, q := range []float64{0.5, 0.99} {
		with, without := milliseconds("pinned", q), milliseconds("unseen", q)
		w.add(fmt.Sprintf("%s through the API server, p%.0f", name, q*100), with, "ms", target)
		w.add(fmt.Sprintf("the same without any webhook, p%.0f", q*100), without, "ms", "")
		w.add(fmt.Sprintf("ratio of the two, p%.0f", q*100), with/without, "x", "")
	}
	return nil
}

// pods have the pins of their template.
func (w *rewriteBench) pods(ctx context.Context) error {
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "app-",
			Annotations:  map[string]string{"pin.kube-prepull.io/app": "bench.invalid/app:latest@sha256:" + strings.Repeat("1", 64)},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "app", UID: "bench", Controller: &yes},
			},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "bench.invalid/app:latest"}}},
	}
	return w.beside("pod with pins", "", func(namespace string, o metav1.CreateOptions) error {
		created, err := w.client.CoreV1().Pods(namespace).Create(ctx, pod, o)
		if err == nil && strings.Contains(created.Spec.Containers[0].Image, "@") != (namespace == "pinned") {
			return fmt.Errorf("the pod in namespace %s runs %s", namespace, created.Spec.Containers[0].Image)
		}
		return err
	})
}

// remembered is a Deployment with a tag that was asked for a moment ago.
func (w *rewriteBench) remembered(ctx context.Context) error {
	image, err := w.push(ctx, "remembered")
	if err != nil {
		return err
	}
	if _, err := w.create(ctx, "pinned", image, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		return err
	}
	return w.beside("Deployment with a remembered tag", "", func(namespace string, o metav1.CreateOptions) error {
		_, err := w.create(ctx, namespace, image, o)
		return err
	})
}

// oneTag is asked for by many at the same time.
func (w *rewriteBench) oneTag(ctx context.Context) error {
	image, err := w.push(ctx, "together")
	if err != nil {
		return err
	}
	for _, namespace := range []string{"unseen", "pinned"} {
		took := make([]time.Duration, together)
		pinned := make([]bool, together)
		group, ctx := errgroup.WithContext(ctx)
		for i := range took {
			group.Go(func() (err error) {
				took[i], err = dryRun(func(o metav1.CreateOptions) error {
					pinned[i], err = w.create(ctx, namespace, image, o)
					return err
				})
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		what := map[string]string{"unseen": "without any webhook", "pinned": "of one tag nobody asked for"}[namespace]
		w.add(fmt.Sprintf("%d Deployments at once, %s, p50", together, what), quantile(took, 0.5).Seconds()*1e3, "ms", "")
		w.add(fmt.Sprintf("%d Deployments at once, %s, p99", together, what), quantile(took, 0.99).Seconds()*1e3, "ms", "")
		if namespace == "pinned" {
			count := 0
			for _, yes := range pinned {
				if yes {
					count++
				}
			}
			w.add("of them pinned", float64(count), "", fmt.Sprint(together))
		}
	}
	w.add("requests for that tag at the registry", float64(w.registry.Counts("bench/together").ManifestHeads), "HEAD", "1")
	return nil
}

// hanging is a registry that never answers: those that ask it first wait for the hard stop, and then nobody waits.
func (w *rewriteBench) hanging(ctx context.Context) error {
	w.registry.SetFault("bench/hanging", registry.Hang())
	defer w.registry.LiftFault("bench/hanging")
	var took []time.Duration
	start := time.Now()
	for i := range 30 {
		image := fmt.Sprintf("%s/bench/hanging:latest", w.registry.Addr())
		one, err := dryRun(func(o metav1.CreateOptions) error {
			pinned, err := w.create(ctx, "pinned", image, o)
			if pinned {
				return fmt.Errorf("admission %d is pinned by a registry that hangs", i)
			}
			return err
		})
		if err != nil {
			return err
		}
		took = append(took, one)
		time.Sleep(100 * time.Millisecond)
	}
	w.add(fmt.Sprintf("Deployment with a registry that hangs, worst of %d in %.0f s", len(took), time.Since(start).Seconds()), quantile(took, 1).Seconds()*1e3, "ms", "< 1200 in the webhook")
	w.add("Deployment with a registry that hangs, p50", quantile(took, 0.5).Seconds()*1e3, "ms", "")
	return nil
}

func (w *rewriteBench) push(ctx context.Context, name string) (string, error) {
	image := fmt.Sprintf("%s/bench/%s:latest", w.registry.Addr(), name)
	_, err := images.Image{Size: 1 << 10}.Push(ctx, image, remote.WithTransport(w.registry.Transport()))
	w.registry.ResetCounts()
	return image, err
}

// create returns whether the Deployment was pinned.
func (w *rewriteBench) create(ctx context.Context, namespace, image string, o metav1.CreateOptions) (bool, error) {
	created, err := w.client.AppsV1().Deployments(namespace).Create(ctx, benchDeployment("app", image), o)
	if err != nil {
		return false, err
	}
	return created.Spec.Template.Annotations["pin.kube-prepull.io/app"] != "", nil
}
