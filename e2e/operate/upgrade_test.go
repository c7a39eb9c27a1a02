package operate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestUpgradeAndDowngrade installs an earlier version, upgrades it to this one, rolls the release back and upgrades once
// more, while Deployments are created that the API server denies if it cannot ask the webhook. The earlier version is this
// one under another number, with another image and without some fields of the CRD.
func TestUpgradeAndDowngrade(t *testing.T) {
	t.Parallel()
	p := product{lab.Uninstalled(t, "node-1")}
	const earlier = "0.0.9"
	dir, err := lab.Images(earlier)
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Push(t.Context(), dir, p.Registry.Addr(), earlier); err != nil {
		t.Fatal(err)
	}
	newest := []string{"size", "sizeBytes"}
	install := func(chart, version string, values ...string) {
		t.Helper()
		arguments := []string{"upgrade", "--install", "kube-prepull", chart, "--namespace", lab.System, "--create-namespace", "--wait", "--timeout", "3m",
			"--set", "image.repository=" + p.Registry.Addr() + "/kube-prepull", "--set", "image.tag=" + version,
			"--set", "noop.image.repository=" + p.Registry.Addr() + "/kube-prepull-noop", "--set", "noop.image.tag=" + lab.Version}
		if err := lab.Helm(t.Context(), p.Cluster, append(arguments, values...)...); err != nil {
			t.Fatal(err)
		}
		p.waitLeader(t, p.Registry.Addr()+"/kube-prepull:"+version)
	}
	before, now := lab.ChartOf(t, lab.Closed, versioned(earlier), without(newest...)), lab.ChartOf(t, lab.Closed)
	install(before, earlier)
	if err := p.WaitAddress(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.WaitTrusted(t)
	p.Namespace(t, "shop", true)
	app := p.Push(t, "shop/app:v1", images.Image{Seed: 81})
	p.Deploy(t, "shop", lab.Deployment("app", app, 1))
	p.Declare(t, "declared", p.Push(t, "shop/declared:v1", images.Image{Seed: 82}))
	p.waitFields(t, newest, false)
	p.WaitRunning(t, "shop")

	stop := p.AdmitAllTheTime(t, "shop", app)
	seed := uint64(83)
	step := func(name string, act func(), known bool) {
		p.waitFields(t, newest, !known)
		p.waitAllHeld(t)
		was := p.knowledge(t)
		act()
		if diff := cmp.Diff(was, p.knowledge(t)); diff != "" {
			t.Errorf("%s is noticed (-before +after):\n%s", name, diff)
		}
		p.waitFields(t, newest, known)
		lab.Eventually(t, "the start that an earlier manager counted", func() error {
			if starts := lab.Field(p.PrepullImage(t, app), "status", "starts", "count"); starts != "1" {
				return fmt.Errorf("there are %q", starts)
			}
			return nil
		})
		image := p.Push(t, fmt.Sprintf("shop/app-%d:v1", seed), images.Image{Seed: seed})
		p.Deploy(t, "shop", lab.Deployment(fmt.Sprint("app-", seed), image, 0))
		p.WaitState(t, image, "Ready")
		seed++
	}
	step("the upgrade", func() { install(now, lab.Version) }, true)
	step("the downgrade", func() {
		if err := lab.Helm(t.Context(), p.Cluster, "rollback", "kube-prepull", "1", "--namespace", lab.System, "--wait", "--timeout", "3m"); err != nil {
			t.Fatal(err)
		}
		p.waitLeader(t, p.Registry.Addr()+"/kube-prepull:"+earlier)
	}, false)
	step("the upgrade after a downgrade", func() { install(now, lab.Version) }, true)
	admitted, errs := stop()
	lab.RequireAdmitted(t, admitted, errs, 500)

	// Another noop restarts the prepull pods, which have everything.
	pulls := p.Registry.Counts("shop/*")
	lab.Retag(t, p.Registry, "kube-prepull-noop:"+lab.Version, "next")
	was := p.OneForEachNode(t, "node-1")
	install(now, lab.Version, "--set", "noop.image.tag=next")
	lab.Eventually(t, "the prepull pod to have the next noop", func() error {
		if after := p.OneForEachNode(t, "node-1"); after["node-1"] == was["node-1"] {
			return fmt.Errorf("it is the same")
		}
		return nil
	})
	if after := p.Registry.Counts("shop/*"); after != pulls {
		t.Errorf("another noop pulls images again: %+v, before %+v", after, pulls)
	}
}

// waitAllHeld waits until the last images are held, too: that comes a moment after they are ready.
func (p product) waitAllHeld(t *testing.T) {
	t.Helper()
	list, err := p.Images.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var images []string
	for i := range list.Items {
		images = append(images, lab.Field(&list.Items[i], "spec", "image"))
	}
	p.WaitHeld(t, images...)
}

// knowledge is what no upgrade may change: what was pulled, the prepull pods, their DaemonSets, and what the PrepullImages
// have learned.
func (p product) knowledge(t *testing.T) map[string]any {
	t.Helper()
	list, err := p.Images.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var objects []string
	for i := range list.Items {
		o := &list.Items[i]
		words := []string{o.GetName(), string(o.GetUID()), lab.Field(o, "spec")}
		for _, name := range []string{"firstSeenTime", "users", "userCount", "placements", "ready", "state"} {
			words = append(words, name+"="+lab.Field(o, "status", name))
		}
		objects = append(objects, strings.Join(words, " "))
	}
	slices.Sort(objects)
	return map[string]any{
		"pulled":        p.Registry.Counts("shop/*"),
		"prepull pods":  lab.PodIdentities(p.PrepullPods(t)),
		"DaemonSets":    p.Generations(t),
		"PrepullImages": objects,
	}
}

// waitFields waits until all images are ready, and have some fields in their status or none of them.
func (p product) waitFields(t *testing.T, fields []string, known bool) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("images to be ready, with %v: %v", fields, known), func() error {
		list, err := p.Images.List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 {
			return fmt.Errorf("there are %d (%v)", len(list.Items), err)
		}
		for i := range list.Items {
			if state := lab.Field(&list.Items[i], "status", "state"); state != "Ready" {
				return fmt.Errorf("%s is %s", list.Items[i].GetName(), state)
			}
			for _, name := range fields {
				if got := lab.Field(&list.Items[i], "status", name); (got != "") != known {
					return fmt.Errorf("%s of %s is %q", name, list.Items[i].GetName(), got)
				}
			}
		}
		return nil
	})
	p.OneForEachNode(t, "node-1")
}
