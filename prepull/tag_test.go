package prepull

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// tagged is a settled cluster of one image that its pods always pull, with a digest that the registry gave.
func tagged(image, digest string) state {
	s := state{nodes: testNodes(2), images: []v1alpha1.PrepullImage{learnedObject(image, 1), learnedObject("other:1", 1)}}
	s.images[0].Status.AlwaysPull, s.images[0].Status.Digest = true, digest
	s.carryOut(makePlan(s, testOptions, noon))
	s.runPods(noon, nothingFails)
	return s
}

func (s *state) container(image string) corev1.Container {
	for _, c := range ListOf(s.daemonSets[0]) {
		if c.Image == image {
			return c
		}
	}
	return corev1.Container{}
}

func TestAMovedTagRollsOnce(t *testing.T) {
	t.Parallel()
	s := tagged("app:latest", "sha256:one")
	if c := s.container("app:latest"); c.ImagePullPolicy != corev1.PullAlways || digestOf(&c) != "sha256:one" {
		t.Errorf("policy %s, digest %s", c.ImagePullPolicy, digestOf(&c))
	}
	if c := s.container("other:1"); c.ImagePullPolicy != corev1.PullIfNotPresent || len(c.Env) > 0 {
		t.Errorf("another image has policy %s and %v", c.ImagePullPolicy, c.Env)
	}
	s.images[0].Status.Digest = "sha256:two"
	p := makePlan(s, testOptions, noon.Add(time.Minute))
	if len(p.write) != 1 || len(p.move) != 0 || !p.reasons.ordinary {
		t.Fatalf("%d to write, %d to move, %+v", len(p.write), len(p.move), p.reasons)
	}
	before := s.daemonSets[0].Labels[v1alpha1.LabelList]
	s.carryOut(p)
	if after := s.daemonSets[0]; after.Labels[v1alpha1.LabelList] == before || after.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("label %s, strategy %s", after.Labels[v1alpha1.LabelList], after.Spec.UpdateStrategy.Type)
	}
	if p := makePlan(s, testOptions, noon.Add(2*time.Minute)); len(p.write)+len(p.move) != 0 {
		t.Errorf("once more: %d to write, %d to move", len(p.write), len(p.move))
	}
}

func TestADigestThatBecomesKnownRestartsNoPod(t *testing.T) {
	t.Parallel()
	s := tagged("app:latest", "")
	s.images[0].Status.Digest = "sha256:one"
	p := makePlan(s, testOptions, noon.Add(time.Minute))
	if len(p.write) != 0 || len(p.move) != 1 || p.move[0].Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Fatalf("%d to write, %d to move", len(p.write), len(p.move))
	}
	s.carryOut(p)
	if p := makePlan(s, testOptions, noon.Add(2*time.Minute)); len(p.write)+len(p.move) != 0 {
		t.Errorf("once more: %d to write, %d to move", len(p.write), len(p.move))
	}
	s.images[0].Status.Digest = ""
	if p := makePlan(s, testOptions, noon.Add(3*time.Minute)); len(p.write)+len(p.move) != 0 {
		t.Errorf("the digest is forgotten: %d to write, %d to move", len(p.write), len(p.move))
	}
	s.images[0].Status.Digest = "sha256:two"
	if p := makePlan(s, testOptions, noon.Add(4*time.Minute)); len(p.write) != 1 || len(p.move) != 0 {
		t.Errorf("the tag moved: %d to write, %d to move", len(p.write), len(p.move))
	}
}

func TestAnImageThatIsNoLongerAlwaysPulledWaits(t *testing.T) {
	t.Parallel()
	s := tagged("app:latest", "sha256:one")
	s.images[0].Status.AlwaysPull = false
	if p := makePlan(s, testOptions, noon.Add(time.Minute)); len(p.write)+len(p.move) != 0 {
		t.Errorf("%d to write, %d to move", len(p.write), len(p.move))
	}
	s.images = append(s.images, learnedObject("new:1", 1))
	s.carryOut(makePlan(s, testOptions, noon.Add(time.Minute)))
	if c := s.container("app:latest"); c.ImagePullPolicy != corev1.PullIfNotPresent || len(c.Env) > 0 {
		t.Errorf("with the next change: policy %s, %v", c.ImagePullPolicy, c.Env)
	}
}

func TestAPinnedImageIsNotPulledAgain(t *testing.T) {
	t.Parallel()
	const image = "app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	s := tagged(image, "sha256:one")
	if c := s.container(image); c.ImagePullPolicy != corev1.PullIfNotPresent || len(c.Env) > 0 {
		t.Errorf("policy %s, %v", c.ImagePullPolicy, c.Env)
	}
}

func TestADigestThatBecomesKnownDuringARollRestartsNoPod(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(3), images: []v1alpha1.PrepullImage{learnedObject("a:1", 1), learnedObject("b:1", 1)}}
	s.images[0].Status.AlwaysPull = true
	s.carryOut(makePlan(s, testOptions, noon))
	s.runPods(noon, nothingFails)
	s.pods[1].Labels[v1alpha1.LabelList] = "another"
	s.images[0].Status.Digest = "sha256:1"
	if p := makePlan(s, testOptions, noon.Add(time.Minute)); len(p.move)+len(p.write) != 0 {
		t.Errorf("during a roll: %d to move, %d to write", len(p.move), len(p.write))
	}
	s.runPods(noon, nothingFails)
	if p := makePlan(s, testOptions, noon.Add(time.Minute)); len(p.move) != 1 || len(p.write) != 0 {
		t.Errorf("after it: %d to move, %d to write", len(p.move), len(p.write))
	}
}
