package operate

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestUninstallLeavesOnlyWhatPeopleDeclared compares all that is in a cluster before kube-prepull was installed and after
// it was uninstalled, once with helm and once with kubectl; workloads go on.
func TestUninstallLeavesOnlyWhatPeopleDeclared(t *testing.T) {
	t.Parallel()
	p := product{lab.UninstalledOn(t, cluster.Options{Nodes: []cluster.Node{{Name: "node-1"}}}, "--set", "config.nodeCondition=true")}
	p.Namespace(t, "shop", true)
	declared := p.Push(t, "shop/declared:v1", images.Image{Seed: 122})
	image := p.Push(t, "shop/app:v1", images.Image{Seed: 121})
	p.Deploy(t, "shop", lab.Deployment("app", image, 1))
	workload := p.workload(t, "shop")
	before := p.inventory(t, "shop")

	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.WaitState(t, image, "Ready")
	lab.Eventually(t, "the node's condition", func() error {
		if !p.inventory(t, "shop")["kube-prepull.io/ImagesReady of node node-1"] {
			return errors.New("it has none")
		}
		return nil
	})
	p.Declare(t, "declared", declared)
	p.WaitState(t, declared, "Ready")
	if err := lab.Uninstall(t.Context(), p.Cluster); err != nil {
		t.Fatal(err)
	}
	p.requireAdded(t, before, []string{
		"apiservices v1alpha1.kube-prepull.io",
		"configmaps kube-prepull/kube-root-ca.crt",
		"customresourcedefinitions prepullimages.kube-prepull.io",
		"namespaces kube-prepull",
		"prepullimages declared",
		"serviceaccounts kube-prepull/default",
	})
	lab.Kubectl(t, p.Product, "delete", "customresourcedefinition", "prepullimages.kube-prepull.io")
	lab.Kubectl(t, p.Product, "delete", "namespace", lab.System)
	p.requireAdded(t, before, nil)

	manifest := p.installYAML(t)
	lab.Kubectl(t, p.Product, "apply", "-f", manifest)
	lab.Kubectl(t, p.Product, "rollout", "status", "deployment/kube-prepull", "--namespace", lab.System, "--timeout=2m")
	p.WaitState(t, image, "Ready")
	p.MayBeRefused()
	lab.Kubectl(t, p.Product, "delete", "-f", manifest)
	p.requireAdded(t, before, nil)
	if after := p.workload(t, "shop"); after != workload {
		t.Errorf("the workload's pod was touched: %s, before %s", after, workload)
	}
}

// installYAML is deploy/install.yaml with the images of the cluster's registry.
func (p product) installYAML(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(lab.Source("deploy/install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const published = "ghcr.io/kube-prepull"
	for _, name := range []string{"kube-prepull", "kube-prepull-noop"} {
		_, rest, found := strings.Cut(string(content), published+"/"+name+":")
		if !found {
			t.Fatalf("install.yaml has no image %s", name)
		}
		lab.Retag(t, p.Registry, name+":"+lab.Version, rest[:strings.IndexAny(rest, "\"\n")])
	}
	file := filepath.Join(t.TempDir(), "install.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(content), published, p.Registry.Addr())), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// workload waits for the only pod of a namespace to run, and returns which it is.
func (p product) workload(t *testing.T, namespace string) (identity string) {
	t.Helper()
	lab.Eventually(t, "the only pod of "+namespace, func() error {
		pods, err := p.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 1 || !lab.PodRunning(&pods.Items[0]) {
			return fmt.Errorf("it does not run (%v)", err)
		}
		identity = lab.PodIdentities(pods.Items)[0]
		return nil
	})
	return identity
}

// requireAdded waits until a cluster has just what it had before and some more.
func (p product) requireAdded(t *testing.T, before map[string]bool, want []string) {
	t.Helper()
	lab.Eventually(t, "nothing else to be left", func() error {
		now := p.inventory(t, "shop")
		added := maps.Clone(now)
		maps.DeleteFunc(added, func(thing string, _ bool) bool { return before[thing] })
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(added))); diff != "" {
			return fmt.Errorf("(-want +left):\n%s", diff)
		}
		for thing := range before {
			if !now[thing] {
				return fmt.Errorf("%s is gone", thing)
			}
		}
		return nil
	})
}

// inventory is everything of every kind in the cluster, and what of ours is on the nodes. Events, and what is in one
// namespace, do not count.
func (p product) inventory(t *testing.T, except string) map[string]bool {
	t.Helper()
	// An API that comes or goes is in the error alone.
	kinds, err := p.Client().Discovery().ServerPreferredResources()
	if len(kinds) == 0 {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	things := map[string]bool{}
	for _, group := range kinds {
		version, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range group.APIResources {
			if !slices.Contains(kind.Verbs, "list") || kind.Name == "events" {
				continue
			}
			list, err := client.Resource(version.WithResource(kind.Name)).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				continue // it went meanwhile
			}
			for i := range list.Items {
				o := &list.Items[i]
				// Nodes may have their leases later than their pods.
				if o.GetNamespace() == except || o.GetNamespace() == "kube-node-lease" {
					continue
				}
				things[kind.Name+" "+strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")] = true
				if kind.Name == "nodes" {
					for _, mark := range marks(o) {
						things[mark+" of node "+o.GetName()] = true
					}
				}
			}
		}
	}
	return things
}

// marks are the labels, annotations, taints and conditions of a node that are ours.
func marks(node *unstructured.Unstructured) []string {
	found := append(slices.Collect(maps.Keys(node.GetLabels())), slices.Collect(maps.Keys(node.GetAnnotations()))...)
	taints, _, _ := unstructured.NestedSlice(node.Object, "spec", "taints")
	conditions, _, _ := unstructured.NestedSlice(node.Object, "status", "conditions")
	for _, taint := range taints {
		found = append(found, fmt.Sprint(taint.(map[string]any)["key"]))
	}
	for _, condition := range conditions {
		found = append(found, fmt.Sprint(condition.(map[string]any)["type"]))
	}
	return slices.DeleteFunc(found, func(mark string) bool { return !strings.HasPrefix(mark, "kube-prepull.io/") })
}
