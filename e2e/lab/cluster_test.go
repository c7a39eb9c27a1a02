package lab_test

import (
	"slices"

	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestClusterPullsFromARegistry is the life of a cluster: two nodes and a third one that joins pull an image through a
// throttled registry, a pull fails while the registry is cut off, and nothing is left at the end.
func TestClusterPullsFromARegistry(t *testing.T) {
	lab.RequireNodes(t)
	t.Parallel()
	before := lab.HostState(t)
	dir := lab.ShortTempDir(t)
	start := time.Now()
	c, err := cluster.Up(t.Context(), cluster.Options{Dir: dir, Progress: lab.Progress{T: t}, Nodes: []cluster.Node{
		{Name: "node-1", Labels: map[string]string{"pool": "web"}, Taints: []corev1.Taint{{Key: "dedicated", Value: "web", Effect: corev1.TaintEffectNoSchedule}}},
		{Name: "node-2", Kubelet: map[string]any{"maxPods": 42}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Down(context.Background()) }) //nolint:errcheck // the test itself takes it down and looks
	t.Logf("two nodes are Ready after %s", time.Since(start).Round(100*time.Millisecond))

	node := lab.GetNode(t, c, "node-1")
	// Those of Kubernetes itself come and go with the state of a node, and may be behind it.
	taints := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(taint corev1.Taint) bool { return strings.HasPrefix(taint.Key, "node.kubernetes.io/") })
	if node.Labels["pool"] != "web" || len(taints) != 1 || taints[0].Key != "dedicated" {
		t.Errorf("node-1 has labels %v and taints %v, want pool=web and dedicated=web:NoSchedule", node.Labels, node.Spec.Taints)
	}
	if pods := lab.GetNode(t, c, "node-2").Status.Capacity.Pods().Value(); pods != 42 {
		t.Errorf("node-2 has room for %d pods, want the 42 of its kubelet's configuration", pods)
	}

	r := lab.NewRegistry(t, c, registry.Options{Bandwidth: 100e6})
	image := lab.PushSleeper(t, r, "shop/app:v1", images.Image{Size: 10 << 20})
	for _, name := range []string{"node-1", "node-2"} {
		lab.StartPod(t, c, lab.PodOn(name, "app-"+name, image))
	}
	for _, name := range []string{"node-1", "node-2"} {
		lab.WaitPod(t, c, "app-"+name, lab.PodRunning)
	}
	pulled := r.Counts("shop/app")
	if got, least := pulled.BlobBytes, int64(2*10<<20); got < least {
		t.Errorf("two nodes pulled %d bytes, want %d at least", got, least)
	}

	if err := c.AddNode(t.Context(), cluster.Node{Name: "node-3"}); err != nil {
		t.Fatal(err)
	}
	lab.StartPod(t, c, lab.PodOn("node-3", "app-node-3", image))
	lab.WaitPod(t, c, "app-node-3", lab.PodRunning)
	if r.Counts("shop/app").BlobBytes <= pulled.BlobBytes {
		t.Error("the third node did not pull from the registry")
	}

	r.SetDown(true)
	lab.StartPod(t, c, lab.PodOn("node-2", "cut-off", r.Addr()+"/shop/app:v2"))
	lab.WaitPod(t, c, "cut-off", func(p *corev1.Pod) bool {
		reason := lab.WaitingReason(p)
		return reason == "ErrImagePull" || reason == "ImagePullBackOff"
	})
	r.SetDown(false)

	start = time.Now()
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("down after %s", time.Since(start).Round(100*time.Millisecond))
	lab.RequireNothingLeft(t, dir, before)
}

// TestClusterNodesComeAndGo stops, starts and removes a node while pods run.
func TestClusterNodesComeAndGo(t *testing.T) {
	t.Parallel()
	lab.RequireNodes(t)
	c := lab.UpCluster(t, cluster.Options{Nodes: []cluster.Node{{Name: "node-1"}}, FakeNodes: 5})
	r := lab.NewRegistry(t, c, registry.Options{})
	image := lab.PushSleeper(t, r, "shop/app:v1", images.Image{})
	lab.StartPod(t, c, lab.PodOn("node-1", "app", image))
	lab.WaitPod(t, c, "app", lab.PodRunning)

	if err := c.StopNode(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	r.SetDown(true) // what is on the disk is there after a reboot
	if err := c.StartNode(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	lab.WaitPod(t, c, "app", func(p *corev1.Pod) bool {
		return lab.PodRunning(p) && p.Status.ContainerStatuses[0].RestartCount > 0
	})
	if err := c.RemoveNode(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	// A kubelet may not give itself such a label, and ends. That says so, and keeps no other node from joining.
	err := c.AddNode(t.Context(), cluster.Node{Name: "broken", Labels: map[string]string{"kubernetes.io/reserved": "yes"}})
	if err == nil || !strings.Contains(err.Error(), "kubelet ended (exit code 1)") {
		t.Errorf("adding a node whose kubelet ends: %v", err)
	}
	if err := c.AddNode(t.Context(), cluster.Node{Name: "node-1"}); err != nil {
		t.Fatalf("a node of the same name cannot join again: %v", err)
	}
	nodes, err := c.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 6 {
		t.Errorf("there are %d nodes (%v), want a real one and 5 fake ones", len(nodes.Items), err)
	}
	// A DaemonSet's pod runs on real and fake nodes alike.
	ds := lab.DaemonSet("everywhere", image)
	r.SetDown(false)
	if _, err := c.Client().AppsV1().DaemonSets("default").Create(t.Context(), ds, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "a pod of the DaemonSet on every node", func() error {
		got, err := c.Client().AppsV1().DaemonSets("default").Get(t.Context(), ds.Name, metav1.GetOptions{})
		if err == nil && got.Status.NumberReady != 6 {
			err = fmt.Errorf("%d of 6 are ready", got.Status.NumberReady)
		}
		return err
	})
}

// TestClusterServices reaches the API server from a pod, a pod from another node, directly and through a Service, and
// a webhook in a pod from the API server.
func TestClusterServices(t *testing.T) {
	t.Parallel()
	lab.RequireNodes(t)
	c := lab.UpCluster(t, cluster.Options{Nodes: []cluster.Node{{Name: "node-1"}, {Name: "node-2"}}})
	r := lab.NewRegistry(t, c, registry.Options{})
	image := lab.PushSleeper(t, r, "shop/app:v1", images.Image{})

	server := lab.PodOn("node-1", "server", image)
	server.Labels = map[string]string{"app": "server"}
	server.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PORT", Value: "8080"}}
	lab.StartPod(t, c, server)
	lab.StartService(t, c, "server", 80, 8080)
	address := lab.WaitPod(t, c, "server", lab.PodRunning).Status.PodIP
	service, err := c.Client().CoreV1().Services("default").Get(t.Context(), "server", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]string{
		"pod-to-pod":        "http://" + address + ":8080",
		"pod-to-service":    "http://" + service.Spec.ClusterIP,
		"pod-to-api-server": "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)/healthz",
	} {
		for _, node := range []string{"node-1", "node-2"} {
			client := lab.PodOn(node, name+"-"+node, image)
			client.Spec.RestartPolicy = corev1.RestartPolicyNever
			client.Spec.Containers[0].Args = []string{"get", url}
			lab.StartPod(t, c, client)
			lab.WaitPod(t, c, client.Name, lab.PodSucceeded)
		}
	}

	lab.InstallDenier(t, c, r)
	lab.Eventually(t, "the webhook in a pod to be asked", func() error {
		_, err := c.Client().CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "asked-"}}, metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "denied in a pod") {
			return fmt.Errorf("creating a ConfigMap: %v", err)
		}
		return nil
	})
}

// TestClusterOptions brings up two clusters at once: one with an admission plugin, one that cannot come up.
func TestClusterOptions(t *testing.T) {
	t.Parallel()
	always := lab.UpCluster(t, cluster.Options{ControlPlaneOnly: true, AdmissionPlugins: []string{"AlwaysPullImages"}})
	created, err := always.Client().CoreV1().Pods("default").Create(t.Context(), lab.PodOn("nowhere", "app", "app:v1"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if policy := created.Spec.Containers[0].ImagePullPolicy; policy != corev1.PullAlways {
		t.Errorf("the pull policy is %s, want Always of the admission plugin", policy)
	}

	dir := lab.ShortTempDir(t)
	_, err = cluster.Up(t.Context(), cluster.Options{Dir: dir, ControlPlaneOnly: true, APIServerFlags: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver") || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("the error is %q, want one that names kube-apiserver and shows its log", err)
	}
	lab.RequireGone(t, dir)
}
