package pin

import (
	"fmt"

	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// rollable are the kinds that kubectl rolls back.
var rollable = []string{"deployment", "statefulset", "daemonset"}

// on1 keeps the pods of a template on one node, so that there is one of a DaemonSet too.
func on1(template corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
	return template
}

// TestARestartTakesTheNewestImageAndAnUndoTheOldOne moves a tag between restarts and undos of every kind.
func TestARestartTakesTheNewestImageAndAnUndoTheOldOne(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "rollout", "latest")}
	for _, kind := range rollable {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			digests := n.Versions(t, kind, 3)
			image := n.Image(kind + ":latest")
			move := func(version string) { n.point(t, kind, "latest", version) }
			runs := func(digest string, revisions int) {
				t.Helper()
				n.wantPins(t, kind, kind, appPin(image, digest))
				n.waitPods(t, kind, 1, n.digested(kind, digest))
				// A revision may be of the digest that runs already, and its controller has yet to see it.
				lab.Eventually(t, fmt.Sprintf("%d revisions", revisions), func() error {
					if got := n.revisions(t, kind, kind); len(got) != revisions {
						return fmt.Errorf("there are %v", got)
					}
					return nil
				})
			}
			restart := func() { n.kubectl(t, "rollout", "restart", kind+"/"+kind) }
			undo := func(args ...string) { n.kubectl(t, append([]string{"rollout", "undo", kind + "/" + kind}, args...)...) }

			move("v1")
			n.create(t, kind, kind, on1(podTemplate(kind, image)))
			runs(digests[0], 1)
			move("v2")
			restart()
			runs(digests[1], 2)
			move("v3")
			undo() // the first revision is the third from now on
			runs(digests[0], 2)
			undo("--to-revision=2") // the fourth
			runs(digests[1], 2)

			move("v2")
			restart() // the fifth is of the same digest as the fourth
			runs(digests[1], 3)
			move("v3")
			undo()
			runs(digests[1], 3)
			undo("--to-revision=3")
			runs(digests[0], 3)
			restart()
			runs(digests[2], 4)

			n.Registry.SetFault("rollout/"+kind, registry.Hang()) // nobody has to be asked
			defer n.Registry.LiftFault("rollout/" + kind)
			undo()
			runs(digests[0], 4)
		})
	}
}

// TestAnUndoToBeforeTheLabel gives the template of that time, without a pin, and its pods use the tag.
func TestAnUndoToBeforeTheLabel(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "before", "")}
	digests := map[string]string{}
	for _, kind := range rollable {
		digests[kind] = n.Versions(t, kind, 1)[0]
		n.point(t, kind, "latest", "v1")
		n.create(t, kind, kind, on1(podTemplate(kind, n.Image(kind+":latest"))))
	}
	for _, kind := range rollable {
		n.waitPods(t, kind, 1, n.Image(kind+":latest"))
	}
	n.relabel(t, "latest")
	for _, kind := range rollable {
		t.Run(kind, func(t *testing.T) {
			image := n.Image(kind + ":latest")
			n.wantPins(t, kind, kind, map[string]string{})
			n.kubectl(t, "set", "env", kind+"/"+kind, "CHANGED=yes")
			n.wantPins(t, kind, kind, appPin(image, digests[kind]))
			n.waitPods(t, kind, 1, n.digested(kind, digests[kind]))
			n.kubectl(t, "rollout", "undo", kind+"/"+kind)
			n.wantPins(t, kind, kind, map[string]string{})
			n.waitPods(t, kind, 1, image)
			if got := n.revisions(t, kind, kind); len(got) != 2 {
				t.Errorf("there are the revisions %v, want two", got)
			}
			n.kubectl(t, "rollout", "undo", kind+"/"+kind)
			n.wantPins(t, kind, kind, appPin(image, digests[kind]))
			n.waitPods(t, kind, 1, n.digested(kind, digests[kind]))
		})
	}
}

// TestPinsFollowTheContainers of a Deployment that come, go and get other images.
func TestPinsFollowTheContainers(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "follow", "tags")}
	app, side := n.Versions(t, "app", 3), n.Versions(t, "side", 1)
	n.create(t, "deployment", "web", podTemplate("web", n.Image("app:v1")))
	n.wantPins(t, "deployment", "web", appPin(n.Image("app:v1"), app[0]))

	n.kubectl(t, "set", "image", "deployment/web", "app="+n.Image("app:v2"))
	n.wantPins(t, "deployment", "web", appPin(n.Image("app:v2"), app[1]))

	n.kubectl(t, "patch", "deployment", "web", "--patch", `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"`+n.Image("side:v1")+`"}]}}}}`)
	both := appPin(n.Image("app:v2"), app[1])
	both["pin.kube-prepull.io/side"] = n.Image("side:v1") + "@" + side[0]
	n.wantPins(t, "deployment", "web", both)

	n.kubectl(t, "patch", "deployment", "web", "--patch", `{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}`)
	n.wantPins(t, "deployment", "web", appPin(n.Image("app:v2"), app[1]))

	own := n.digested("app", app[2])
	n.kubectl(t, "set", "image", "deployment/web", "app="+own)
	n.wantPins(t, "deployment", "web", map[string]string{})
	n.waitPods(t, "web", 1, own)

	// A rollback by hand, as a commit that is reverted: the tag says what it is.
	n.kubectl(t, "set", "image", "deployment/web", "app="+n.Image("app:v1"))
	n.wantPins(t, "deployment", "web", appPin(n.Image("app:v1"), app[0]))
	n.waitPods(t, "web", 1, n.digested("app", app[0]))
}

// TestAllPodsOfARevisionAreAlike scales up after the tag has moved, and while the registry does not answer.
func TestAllPodsOfARevisionAreAlike(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "outage", "latest")}
	for _, kind := range []string{"deployment", "statefulset"} {
		t.Run(kind, func(t *testing.T) {
			digests := n.Versions(t, kind, 2)
			n.point(t, kind, "latest", "v1")
			image := n.Image(kind + ":latest")
			n.create(t, kind, kind, on1(podTemplate(kind, image)))
			n.waitPods(t, kind, 1, n.digested(kind, digests[0]))
			before, _ := n.stored(t, kind, kind)
			n.point(t, kind, "latest", "v2")
			n.kubectl(t, "scale", kind+"/"+kind, "--replicas=2")
			n.waitPods(t, kind, 2, n.digested(kind, digests[0]))

			n.Registry.SetFault("outage/"+kind, registry.Hang())
			t.Cleanup(func() { n.Registry.LiftFault("outage/" + kind) })
			n.kubectl(t, "scale", kind+"/"+kind, "--replicas=4")
			pods := n.waitPods(t, kind, 4, n.digested(kind, digests[0]))
			for _, pod := range pods {
				c := pod.Spec.Containers[0]
				if c.ImagePullPolicy != corev1.PullIfNotPresent {
					t.Errorf("%s has the policy %s", pod.Name, c.ImagePullPolicy)
				}
				if diff := cmp.Diff("app="+image, pod.Annotations["kube-prepull.io/rewritten"]); diff != "" {
					t.Errorf("the marker of %s (-want +got):\n%s", pod.Name, diff)
				}
			}
			n.wantPins(t, kind, kind, appPin(image, digests[0]))
			now, _ := n.stored(t, kind, kind)
			if rolled := now.GetGeneration() - before.GetGeneration(); rolled != 2 {
				t.Errorf("the generation grew by %d, want the two of scaling", rolled)
			}
		})
	}
}

// TestAStatefulSetOfTwoRevisions has pods of both while a partition holds the rollout up: each keeps its own digest, also
// in a pod that takes the place of another.
func TestAStatefulSetOfTwoRevisions(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "partition", "latest")}
	digests := n.Versions(t, "app", 3)
	n.point(t, "app", "latest", "v1")
	n.create(t, "statefulset", "web", on1(podTemplate("web", n.Image("app:latest"))))
	n.kubectl(t, "patch", "statefulset", "web", "--patch", `{"spec":{"replicas":2,"updateStrategy":{"rollingUpdate":{"partition":1}}}}`)
	n.waitPods(t, "web", 2, n.digested("app", digests[0]))
	n.point(t, "app", "latest", "v2")
	n.kubectl(t, "rollout", "restart", "statefulset/web")
	n.point(t, "app", "latest", "v3")
	want := map[string]string{"web-0": n.digested("app", digests[0]), "web-1": n.digested("app", digests[1])}
	run := func() map[string]string {
		got := map[string]string{}
		for _, pod := range n.pods(t, "web") {
			if lab.PodRunning(&pod) {
				got[pod.Name] = pod.Spec.Containers[0].Image
			}
		}
		return got
	}
	wait := func(what string) {
		t.Helper()
		lab.Eventually(t, what, func() error {
			if diff := cmp.Diff(want, run()); diff != "" {
				return errors.New(diff)
			}
			return nil
		})
	}
	wait("one pod of each revision")
	n.kubectl(t, "delete", "pod", "web-0", "web-1")
	wait("one pod of each revision again")
}
