package place

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// mirroredBytes is the size of the images that are counted.
const mirroredBytes = 24 << 20

// TestARegistrySendsAnImageOnceForEachZone has four nodes in two zones, and a stand-in for Spegel: it serves to a node what another one
// of its zone has, and nothing that is still on its way.
func TestARegistrySendsAnImageOnceForEachZone(t *testing.T) {
	t.Parallel()
	var nodes []cluster.Node
	for i := range 4 {
		nodes = append(nodes, cluster.Node{Name: fmt.Sprint("node-", i+1), Labels: map[string]string{corev1.LabelTopologyZone: fmt.Sprint("zone-", i/2)}})
	}
	p := product{lab.UninstalledOn(t, cluster.Options{Nodes: nodes})}
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.mirror(t)
	p.Namespace(t, "shop", true)
	p.Namespace(t, "mirrors", false)
	p.Registry.SetBandwidth(80_000_000)

	sent := func(name string) float64 {
		return float64(p.Registry.Counts("shop/"+name).BlobBytes) / mirroredBytes
	}
	deploy := func(name string, seed uint64) string {
		image := p.Push(t, "shop/"+name+":v1", images.Image{Seed: seed, Size: mirroredBytes})
		p.Deploy(t, "shop", lab.Deployment(name, image, 0))
		return image
	}
	p.WaitState(t, deploy("base", 389), "Ready") // all images share a layer, which is not to count
	p.WaitState(t, deploy("before", 391), "Ready")
	t.Logf("without mirror.podSelector the registry sends an image %.1f times", sent("before"))
	if sent("before") < 3 {
		t.Error("the nodes do not pull at the same time, so there is nothing to show")
	}

	p.Configure(t, "--set", "config.mirror.namespace=mirrors", "--set", "config.mirror.podSelector.app=mirror", "--set", "config.mirror.deadline=30m")
	image := deploy("with", 392)
	k := lab.PluginFor(t, p.Cluster)
	lab.Eventually(t, "the plugin to say what nodes wait for", func() error {
		if out, _, _ := k.Run(t, "nodes"); strings.Count(out, "waits for the mirror") != len(nodes) {
			return errors.New(out)
		}
		return nil
	})
	if sent("with") > 0 {
		t.Error("a node pulls before its mirror is ready")
	}
	p.startMirror(t)
	p.WaitState(t, image, "Ready")
	t.Logf("with it the registry sends an image %.1f times", sent("with"))
	if sent("with") < 1.9 || sent("with") > 2.3 {
		t.Errorf("the registry sent it %.1f times, want once for each of two zones", sent("with"))
	}
	for _, pod := range p.PrepullPods(t) {
		if len(pod.Spec.SchedulingGates) > 0 {
			t.Errorf("%s waits still", pod.Name)
		}
	}

	// A mirror that does not come costs the deadline, and no more.
	if err := p.Client().AppsV1().DaemonSets("mirrors").Delete(t.Context(), "mirror", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.Configure(t, "--set", "config.mirror.namespace=mirrors", "--set", "config.mirror.podSelector.app=mirror", "--set", "config.mirror.deadline=5s")
	p.WaitState(t, deploy("late", 393), "Ready")
}

// startMirror starts the mirror's pod on each node. They do nothing: what nodes ask is answered outside.
func (p product) startMirror(t *testing.T) {
	t.Helper()
	labels := map[string]string{"app": "mirror"}
	image := p.Push(t, "mirrors/mirror:v1", images.Image{Seed: 390})
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: lab.PodOn("", "mirror", image).Spec},
	}}
	if _, err := p.Client().AppsV1().DaemonSets("mirrors").Create(t.Context(), ds, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// mirror serves to each node what containerd has on the nodes of its zone, and has all ask it before the registry.
func (p product) mirror(t *testing.T) {
	t.Helper()
	nodes, err := p.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	zoneOf, inZone := map[string]string{}, map[string][]string{}
	for _, n := range nodes.Items {
		zone := n.Labels[corev1.LabelTopologyZone]
		inZone[zone] = append(inZone[zone], n.Name)
		for _, a := range n.Status.Addresses {
			zoneOf[a.Address] = zone
		}
	}
	host, _, err := net.SplitHostPort(p.Registry.Addr())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _, _ := net.SplitHostPort(r.RemoteAddr)
		_, digest, found := strings.Cut(r.URL.Path, "/sha256:")
		for _, node := range inZone[zoneOf[from]] {
			content, err := os.ReadFile(filepath.Join(p.Dir(), "nodes", node, "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256", filepath.Base(digest)))
			if !found || err != nil {
				continue
			}
			var manifest struct {
				Type string `json:"mediaType"`
			}
			if strings.Contains(r.URL.Path, "/manifests/") && json.Unmarshal(content, &manifest) == nil {
				w.Header().Set("Content-Type", manifest.Type)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			if r.Method == http.MethodGet {
				_, _ = w.Write(content) // who hangs up asks the registry
			}
			return
		}
		http.NotFound(w, r)
	})}
	go func() { _ = server.Serve(listener) }() // until the test closes it
	t.Cleanup(func() { _ = server.Close() })
	hosts := fmt.Sprintf("server = \"http://%[1]s\"\n[host.\"http://%[2]s\"]\ncapabilities = [\"pull\"]\n[host.\"http://%[1]s\"]\ncapabilities = [\"pull\", \"resolve\"]\n", p.Registry.Addr(), listener.Addr())
	if err := os.WriteFile(filepath.Join(p.Dir(), "registries", p.Registry.Addr(), "hosts.toml"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
}
