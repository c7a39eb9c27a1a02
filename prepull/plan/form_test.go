package plan

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// inEarlierForm is a settled class of three nodes whose DaemonSet an earlier manager wrote: noop is at a path that images know, in
// their working directory. It holds a:1 and brings b:1 and c:latest.
func inEarlierForm(t *testing.T) (State, Options) {
	t.Helper()
	text, err := os.ReadFile("testdata/earlier-form.json")
	if err != nil {
		t.Fatal(err)
	}
	var ds appsv1.DaemonSet
	if err := json.Unmarshal(text, &ds); err != nil {
		t.Fatal(err)
	}
	// The API server's defaults.
	for i := range ds.Spec.Template.Spec.InitContainers {
		ds.Spec.Template.Spec.InitContainers[i].TerminationMessagePath = corev1.TerminationMessagePathDefault
	}
	ds.Spec.Template.Spec.DNSPolicy = corev1.DNSClusterFirst
	always := prepulltest.Learned("c:latest", 1)
	always.Status.AlwaysPull, always.Status.Digest = true, "sha256:1"
	s := State{
		Nodes: ableNodes(3), DaemonSets: []*appsv1.DaemonSet{&ds},
		Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), always, prepulltest.Learned("b:1", 2)},
	}
	s.runPods(prepulltest.Noon, none)
	o := holding
	o.PriorityClassName = v1alpha1.Name
	return s, o
}

// wantForm fails unless noop is where no image knows it, and runs where no image says, in all containers of the only DaemonSet.
func (s *State) wantForm(t *testing.T, folder string) {
	t.Helper()
	spec := &s.DaemonSets[0].Spec.Template.Spec
	for _, c := range append(spec.InitContainers, spec.Containers...) {
		if c.WorkingDir != "/" {
			t.Errorf("%s works in %q", c.Name, c.WorkingDir)
		}
		for _, m := range c.VolumeMounts {
			if m.Name == noopVolume && m.MountPath != folder {
				t.Errorf("%s has noop at %s, want %s", c.Name, m.MountPath, folder)
			}
		}
		if len(c.Command) > 0 && c.Command[0] != folder+"/noop" {
			t.Errorf("%s runs %s", c.Name, c.Command)
		}
	}
}

func TestAnotherFormRestartsNoPod(t *testing.T) {
	t.Parallel()
	s, o := inEarlierForm(t)
	p := Make(s, o, prepulltest.Noon.Add(time.Minute))
	if len(p.Roll) != 0 || len(p.UpdateInPlace) != 1 || p.UpdateInPlace[0].Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Fatalf("%d are rolled, and %d updated in place", len(p.Roll), len(p.UpdateInPlace))
	}
	label := s.DaemonSets[0].Labels[v1alpha1.LabelList]
	if rolls := s.settle(t, o, none); rolls != 0 {
		t.Fatalf("it takes %d rolls", rolls)
	}
	s.wantForm(t, o.NoopFolder)
	if after := s.DaemonSets[0].Labels[v1alpha1.LabelList]; after != label {
		t.Errorf("pods with the label %s have not got the list %s", label, after)
	}
	s.Images = append(s.Images, prepulltest.Learned("d:1", 1))
	if rolls := s.settle(t, o, none); rolls != 1 {
		t.Errorf("another image takes %d rolls", rolls)
	}
	s.wantForm(t, o.NoopFolder)
}

func TestAnotherFormComesWithAnotherList(t *testing.T) {
	t.Parallel()
	s, o := inEarlierForm(t)
	s.Images = append(s.Images, prepulltest.Learned("d:1", 1))
	if rolls := s.settle(t, o, none); rolls != 1 {
		t.Errorf("it takes %d rolls", rolls)
	}
	s.wantForm(t, o.NoopFolder)
}

// Pods that are done with a roll are not restarted by another form; what somebody changes is put right even then.
func TestAnotherFormWaitsForTheEndOfARoll(t *testing.T) {
	t.Parallel()
	for name, strategy := range map[string]appsv1.DaemonSetUpdateStrategyType{
		"rolling": appsv1.RollingUpdateDaemonSetStrategyType, "stopped": appsv1.OnDeleteDaemonSetStrategyType,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, o := inEarlierForm(t)
			if strategy == appsv1.OnDeleteDaemonSetStrategyType {
				keepPods(s.DaemonSets[0])
			}
			label := s.Pods[0].Labels[v1alpha1.LabelList]
			s.Pods[0].Labels[v1alpha1.LabelList] = "another"
			before := specHash(&appsv1.DaemonSetSpec{Template: s.DaemonSets[0].Spec.Template})
			for range 3 {
				p := Make(s, o, prepulltest.Noon)
				s.carryOut(p)
				if after := specHash(&appsv1.DaemonSetSpec{Template: s.DaemonSets[0].Spec.Template}); after != before {
					t.Fatal("pods that are done with the roll are restarted")
				}
			}
			if p := Make(s, o, prepulltest.Noon); len(p.Roll)+len(p.UpdateInPlace) != 0 || s.DaemonSets[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
				t.Fatalf("%d are rolled, and %d updated in place", len(p.Roll), len(p.UpdateInPlace))
			}

			s.Accepted = map[string]string{s.DaemonSets[0].Name: AcceptedHash(&s.DaemonSets[0].Spec)}
			changed := s.DaemonSets[0].DeepCopy()
			changed.Spec.Template.Spec.ServiceAccountName = "somebody"
			was := s.DaemonSets
			s.DaemonSets = []*appsv1.DaemonSet{changed}
			if p := Make(s, o, prepulltest.Noon); len(p.Roll) != 1 || p.Roll[0].Spec.Template.Spec.ServiceAccountName != "" {
				t.Errorf("what somebody changed stays: %d are rolled", len(p.Roll))
			}

			s.DaemonSets, s.Accepted = was, nil
			s.Pods[0].Labels[v1alpha1.LabelList] = label
			if p := Make(s, o, prepulltest.Noon); len(p.Roll) != 0 || len(p.UpdateInPlace) != 1 {
				t.Fatalf("after it %d are rolled, and %d updated in place", len(p.Roll), len(p.UpdateInPlace))
			}
		})
	}
}

func TestWhatSomebodyChangedIsPutRightInAnyForm(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*corev1.PodSpec){
		"an image":           func(spec *corev1.PodSpec) { spec.InitContainers[1].Image = "evil" },
		"a held image":       func(spec *corev1.PodSpec) { spec.Volumes[1].Image.Reference = "evil" },
		"noop":               func(spec *corev1.PodSpec) { spec.Containers[0].Image = "evil" },
		"one image less":     func(spec *corev1.PodSpec) { spec.InitContainers = spec.InitContainers[:2] },
		"the host's network": func(spec *corev1.PodSpec) { spec.HostNetwork = true },
	} {
		s, o := inEarlierForm(t)
		edit(&s.DaemonSets[0].Spec.Template.Spec)
		if p := Make(s, o, prepulltest.Noon); len(p.Roll) != 1 {
			t.Errorf("%s: %d are rolled", name, len(p.Roll))
		}
	}
	// In the form of this manager there is nothing to confuse it with.
	s, o := inEarlierForm(t)
	s.settle(t, o, none)
	s.Images = append(s.Images, prepulltest.Learned("d:1", 1))
	s.settle(t, o, none)
	s.DaemonSets[0].Spec.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	s.DaemonSets[0].Spec.Template.Spec.InitContainers[0].WorkingDir = "/evil"
	s.settle(t, o, none)
	s.wantForm(t, o.NoopFolder)
}

func TestTheFolderOfNoopIsKept(t *testing.T) {
	t.Parallel()
	known, other := workload.NoopFolder([16]byte{1}), workload.NoopFolder([16]byte{2})
	in := func(name, folder string) *appsv1.DaemonSet {
		o := testOptions
		o.NoopFolder = folder
		ds := testDaemonSet(o, "a:1")
		ds.Name = name
		return ds
	}
	for name, tc := range map[string]struct {
		stored []*appsv1.DaemonSet
		want   string
	}{
		"none is stored":                    {nil, "made"},
		"one is stored":                     {[]*appsv1.DaemonSet{in("b", known)}, known},
		"one that images know is stored":    {[]*appsv1.DaemonSet{in("b", "/prepull")}, "made"},
		"one that images know, and another": {[]*appsv1.DaemonSet{in("a", "/prepull"), in("b", known)}, known},
		"two are stored":                    {[]*appsv1.DaemonSet{in("b", other), in("a", known)}, known},
		"somebody emptied it":               {[]*appsv1.DaemonSet{{}}, "made"},
	} {
		if got := folderOf(tc.stored, "made"); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	s.settle(t, testOptions, none)
	next := testOptions
	next.NoopFolder = other
	if p := Make(s, next, prepulltest.Noon); len(p.Roll)+len(p.UpdateInPlace) != 0 {
		t.Error("another leader has another folder")
	}
}

func TestTheFolderOfAStandaloneDaemonSetIsThatOfItsList(t *testing.T) {
	t.Parallel()
	folder := func(images ...string) string {
		return installFolder(Standalone{Name: "prepull", NoopImage: "noop:1", Images: images}.DaemonSet())
	}
	if one := folder("a:1"); !workload.IsNoopFolder(one) || one != folder("a:1") || one == folder("a:1", "b:1") || strings.HasSuffix(one, "00000000") {
		t.Errorf("it is %s, %s and %s", one, folder("a:1"), folder("a:1", "b:1"))
	}
}

// TestAnUpgradeInTheMiddleOfAnything lets random things happen to two equal clusters. Then one gets another leader, and the other
// one that writes DaemonSets in another form: in the end as many pods of before are left in both.
func TestAnUpgradeInTheMiddleOfAnything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var left [2][]string
			for i, folder := range []string{"/prepull", testOptions.NoopFolder} {
				c := newChaos(seed)
				c.options.NoopFolder = "/prepull"
				for range 10 + c.IntN(40) {
					c.happen()
				}
				c.failing, c.full = map[string]bool{}, map[string]bool{} // a roll that does not end keeps its form
				before := c.Pods
				c.options.NoopFolder, c.Accepted = folder, map[string]string{}
				if !c.quiesce() {
					t.Fatalf("not quiet: %s\n%s", shownPlan(Make(c.State, c.options, c.now)), strings.Join(c.log, "\n"))
				}
				c.check(t)
				for _, pod := range before {
					if slices.ContainsFunc(c.Pods, func(p *corev1.Pod) bool { return p.Name == pod.Name }) {
						left[i] = append(left[i], pod.Name)
					}
				}
				for _, ds := range c.DaemonSets {
					if got := installFolder(ds); got != folder {
						t.Errorf("%s has noop at %s, want %s", ds.Name, got, folder)
					}
				}
			}
			if !slices.Equal(left[0], left[1]) {
				t.Errorf("of the pods %v are left, and %v after an upgrade", left[0], left[1])
			}
		})
	}
}
