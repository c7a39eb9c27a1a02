package plan

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// tagged is a settled cluster of one image that its pods always pull, with a digest that the registry gave.
func tagged(image, digest string) State {
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned(image, 1), prepulltest.Learned("other:1", 1)}}
	s.Images[0].Status.AlwaysPull, s.Images[0].Status.Digest = true, digest
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	return s
}

func (s *State) container(image string) corev1.Container {
	for _, c := range broughtBy(s.DaemonSets[0]) {
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
	s.Images[0].Status.Digest = "sha256:two"
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
	if len(p.Roll) != 1 || len(p.UpdateInPlace) != 0 || !p.Classes[0].Reasons.Ordinary {
		t.Fatalf("%d to write, %d to move, %+v", len(p.Roll), len(p.UpdateInPlace), p.Classes[0].Reasons)
	}
	before := s.DaemonSets[0].Labels[v1alpha1.LabelList]
	s.carryOut(p)
	if after := s.DaemonSets[0]; after.Labels[v1alpha1.LabelList] == before || after.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("label %s, strategy %s", after.Labels[v1alpha1.LabelList], after.Spec.UpdateStrategy.Type)
	}
	if p := Make(s, testOptions, prepulltest.Noon.Add(2*time.Minute)); len(p.Roll)+len(p.UpdateInPlace) != 0 {
		t.Errorf("once more: %d to write, %d to move", len(p.Roll), len(p.UpdateInPlace))
	}
}

func TestADigestThatBecomesKnownRestartsNoPod(t *testing.T) {
	t.Parallel()
	s := tagged("app:latest", "")
	s.Images[0].Status.Digest = "sha256:one"
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
	if len(p.Roll) != 0 || len(p.UpdateInPlace) != 1 || p.UpdateInPlace[0].Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Fatalf("%d to write, %d to move", len(p.Roll), len(p.UpdateInPlace))
	}
	s.carryOut(p)
	if p := Make(s, testOptions, prepulltest.Noon.Add(2*time.Minute)); len(p.Roll)+len(p.UpdateInPlace) != 0 {
		t.Errorf("once more: %d to write, %d to move", len(p.Roll), len(p.UpdateInPlace))
	}
	s.Images[0].Status.Digest = ""
	if p := Make(s, testOptions, prepulltest.Noon.Add(3*time.Minute)); len(p.Roll)+len(p.UpdateInPlace) != 0 {
		t.Errorf("the digest is forgotten: %d to write, %d to move", len(p.Roll), len(p.UpdateInPlace))
	}
	s.Images[0].Status.Digest = "sha256:two"
	if p := Make(s, testOptions, prepulltest.Noon.Add(4*time.Minute)); len(p.Roll) != 1 || len(p.UpdateInPlace) != 0 {
		t.Errorf("the tag moved: %d to write, %d to move", len(p.Roll), len(p.UpdateInPlace))
	}
}

func TestAnImageThatIsNoLongerAlwaysPulledWaits(t *testing.T) {
	t.Parallel()
	s := tagged("app:latest", "sha256:one")
	s.Images[0].Status.AlwaysPull = false
	if p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute)); len(p.Roll)+len(p.UpdateInPlace) != 0 {
		t.Errorf("%d to write, %d to move", len(p.Roll), len(p.UpdateInPlace))
	}
	s.Images = append(s.Images, prepulltest.Learned("new:1", 1))
	s.carryOut(Make(s, testOptions, prepulltest.Noon.Add(time.Minute)))
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
	s := State{Nodes: prepulltest.Nodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("b:1", 1)}}
	s.Images[0].Status.AlwaysPull = true
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	s.Pods[1].Labels[v1alpha1.LabelList] = "another"
	s.Images[0].Status.Digest = "sha256:1"
	if p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute)); len(p.UpdateInPlace)+len(p.Roll) != 0 {
		t.Errorf("during a roll: %d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
	s.runPods(prepulltest.Noon, nothingFails)
	if p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute)); len(p.UpdateInPlace) != 1 || len(p.Roll) != 0 {
		t.Errorf("after it: %d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
}
