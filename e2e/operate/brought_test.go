package operate

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// fixedRegistry is the name by which the node knows the test's registry: that of the images in the stored DaemonSet.
const fixedRegistry = "registry.test"

// TestAnUpgradeFromInitContainersAlone installs this version where an earlier one has left its DaemonSet, which brings five images
// as init containers and holds none (prepull/plan/testdata/init-containers.json, as that version wrote it). Nothing is pulled again: not by the
// upgrade, which restarts no prepull pod, not when the images are held with the next list, and not when that is switched off and on.
func TestAnUpgradeFromInitContainersAlone(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED: the stored DaemonSet is for nodes of amd64")
	}
	p := product{lab.Uninstalled(t, "node-1")}
	if err := p.TrustRegistryAs(fixedRegistry, p.Registry.Addr()); err != nil {
		t.Fatal(err)
	}
	install := func(manager string, values ...string) {
		t.Helper()
		arguments := []string{"upgrade", "--install", "kube-prepull", lab.Source("deploy/chart"), "--namespace", lab.System, "--create-namespace", "--timeout", "3m",
			"--set", "image.repository=" + fixedRegistry + "/kube-prepull", "--set", "image.tag=" + manager,
			"--set", "noop.image.repository=" + fixedRegistry + "/kube-prepull-noop", "--set", "noop.image.tag=" + lab.Version}
		if err := lab.Helm(t.Context(), p.Cluster, append(arguments, values...)...); err != nil {
			t.Fatal(err)
		}
	}
	install("none") // whose managers never run
	var former []string
	for i := range 5 {
		p.Push(t, fmt.Sprintf("shop/app-%d:v1", i), images.Image{Seed: uint64(600 + i)})
		former = append(former, fmt.Sprintf("%s/shop/app-%d:v1", fixedRegistry, i))
		p.Declare(t, fmt.Sprint("app-", i), former[i])
	}
	p.apply(t, lab.Source("prepull/plan/testdata/init-containers.json"))
	p.waitReadyPod(t)
	was := p.pulledAndPods(t)

	install(lab.Version, "--wait")
	p.waitLeader(t, fixedRegistry+"/kube-prepull:"+lab.Version)
	for _, image := range former {
		p.WaitState(t, image, "Ready")
	}
	if diff := cmp.Diff(was, p.pulledAndPods(t)); diff != "" {
		t.Errorf("the upgrade pulls, or restarts prepull pods (-before +after):\n%s", diff)
	}

	p.Push(t, "shop/next:v1", images.Image{Seed: 610})
	next := fixedRegistry + "/shop/next:v1"
	p.Declare(t, "next", next)
	p.WaitState(t, next, "Ready")
	p.WaitHeld(t, append(former, next)...)
	install(lab.Version, "--wait", "--set", "config.imageVolumes=false")
	p.WaitHeld(t)
	p.waitReadyPod(t)
	install(lab.Version, "--wait", "--set", "config.imageVolumes=true")
	p.WaitHeld(t, append(former, next)...)
	if pulled := p.Registry.Counts("shop/app-*"); pulled != was["pulled"] {
		t.Errorf("images that are held, brought and held again are pulled again: %+v, before %+v", pulled, was["pulled"])
	}
}

// pulledAndPods is what the registry was asked for the images that were there first, and the prepull pods.
func (p product) pulledAndPods(t *testing.T) map[string]any {
	t.Helper()
	return map[string]any{"pulled": p.Registry.Counts("shop/app-*"), "prepull pods": lab.PodIdentities(p.PrepullPods(t))}
}

// apply creates a DaemonSet that is stored in a file.
func (p product) apply(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var ds appsv1.DaemonSet
	if err := json.Unmarshal(content, &ds); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Client().AppsV1().DaemonSets(lab.System).Create(t.Context(), &ds, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// waitReadyPod waits until the only prepull pod runs, and all pods of the DaemonSet are of its last version.
func (p product) waitReadyPod(t *testing.T) {
	t.Helper()
	lab.Eventually(t, "the prepull pod to be ready", func() error {
		lists, pods := p.DaemonSets(t), p.PrepullPods(t)
		if len(lists) != 1 || len(pods) != 1 {
			return fmt.Errorf("there are %d DaemonSets and %d pods", len(lists), len(pods))
		}
		if status := lists[0].Status; status.ObservedGeneration != lists[0].Generation || status.NumberReady != 1 {
			return fmt.Errorf("the DaemonSet says %+v", status)
		}
		if !lab.PodRunning(&pods[0]) || pods[0].Labels["kube-prepull.io/list"] != lists[0].Labels["kube-prepull.io/list"] {
			return fmt.Errorf("the pod is %s", pods[0].Status.Phase)
		}
		return nil
	})
}
