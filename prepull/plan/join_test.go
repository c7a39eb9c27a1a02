package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// podStart is what a kubelet takes from the creation of a pod to its first pull.
const podStart = 2 * time.Second

// joiner is a node that joins during a storm of new images. A new list replaces its pod, and a pull that was under way starts
// anew.
type joiner struct {
	State
	*rand.Rand
	now  time.Time
	name string

	// list is what its pod is to pull, begun when the pull under way began, and has what is on it.
	list  []Listed
	label string
	begun time.Time
	has   map[string]bool

	// takes is how long each image takes.
	takes map[string]time.Duration
}

// TestANodeThatJoinsDuringAStormGetsItsImages has new images come and go all the time. The node has those that it must have
// after its pulls, new ones among them, and a bound for what the lists cost it in between.
func TestANodeThatJoinsDuringAStormGetsItsImages(t *testing.T) {
	t.Parallel()
	for _, volumes := range []bool{false, true} {
		for seed := range uint64(30) {
			t.Run(fmt.Sprint(volumes, seed), func(t *testing.T) {
				t.Parallel()
				j := newJoiner(t, seed, volumes)
				o := holding
				o.ImageVolumes, o.Gate.MaxBytes = volumes, 100<<30
				hot := len(j.Images)
				longest := time.Duration(0)
				for _, took := range j.takes {
					longest = max(longest, took)
				}
				d := Debounces{Clocks: clock.Production()}
				start := j.now
				for j.missing(hot) > 0 {
					var pulls time.Duration
					for image := range j.has {
						pulls += j.takes[image]
					}
					// A list costs the start of a pod, and what is lost until the end of the pull before it is noticed.
					bound := pulls + 2*longest + d.Clocks.JoinGap + time.Duration(len(j.has)+1)*3*podStart
					if took := j.now.Sub(start); took > min(bound, joinTime) {
						t.Fatalf("%d of %d images are missing after %s; %d pulls have taken %s, the longest takes %s", j.missing(hot), hot, took, len(j.has), pulls, longest)
					}
					j.second(o, &d, hot)
				}
			})
		}
	}
}

func newJoiner(t *testing.T, seed uint64, volumes bool) *joiner {
	t.Helper()
	j := &joiner{Rand: rand.New(rand.NewPCG(seed, 3)), now: prepulltest.Noon, name: "node-003", has: map[string]bool{}, takes: map[string]time.Duration{}}
	j.Nodes = ableNodes(3)
	for range 3 + j.IntN(6) {
		j.newImage(45)
	}
	o := holding
	o.ImageVolumes = volumes
	j.settle(t, o, none)
	j.now = prepulltest.Noon.Add(time.Hour)
	j.Nodes = ableNodes(4)
	j.Nodes[3].CreationTimestamp = metav1.NewTime(j.now)
	j.restart()
	return j
}

func (j *joiner) newImage(seconds int) {
	image := fmt.Sprintf("app-%d:1", len(j.takes))
	j.takes[image] = time.Duration(1+j.IntN(seconds)) * time.Second
	o := prepulltest.Learned(image, j.IntN(100))
	o.Status.UserCount = 1
	j.Images = append(j.Images, o)
}

// missing counts those of the first images that are not on the node.
func (j *joiner) missing(hot int) int {
	n := 0
	for i := range hot {
		if !j.has[j.Images[i].Spec.Image] {
			n++
		}
	}
	return n
}

// second passes: images come and go, lists are written, and the node pulls.
func (j *joiner) second(o Options, d *Debounces, hot int) {
	switch k := j.IntN(10); {
	case k == 0 && len(j.Images) < 45, k == 1 && len(j.Images) == hot:
		j.newImage(5)
	case k == 1:
		gone := hot + j.IntN(len(j.Images)-hot)
		j.Images = append(j.Images[:gone:gone], j.Images[gone+1:]...)
	}
	p := Make(j.State, o, j.now)
	j.carryOut(Plan{UpdateInPlace: p.UpdateInPlace, Statuses: p.Statuses})
	if waits := d.Wait(p.Classes, j.now); len(waits) == 0 && len(p.Roll) > 0 {
		j.carryOut(p)
		d.Done(p.Roll, j.now)
	}
	j.now = j.now.Add(time.Second)
	if ds := j.DaemonSets[0]; ds.Labels[v1alpha1.LabelList] != j.label {
		j.restart()
	}
	j.pull()
	j.runPods(j.now, none)
	j.Pods = append(j.Pods[:3:3], j.pod())
}

// restart replaces the pod.
func (j *joiner) restart() {
	ds := j.DaemonSets[0]
	j.list, j.label, j.begun = ListOf(ds), ds.Labels[v1alpha1.LabelList], j.now.Add(podStart)
}

// pull goes on with the first image that is missing.
func (j *joiner) pull() {
	for _, l := range j.list {
		if j.has[l.Image] {
			continue
		}
		if j.now.Sub(j.begun) >= j.takes[l.Image] {
			j.has[l.Image], j.begun = true, j.now
		}
		return
	}
}

// pod is what the kubelet tells of it. It lists the images of the node every ten seconds.
func (j *joiner) pod() *corev1.Pod {
	if j.now.Unix()%10 == 0 {
		j.Nodes[3].Status.Images = nil
		for image := range j.has {
			j.Nodes[3].Status.Images = append(j.Nodes[3].Status.Images, corev1.ContainerImage{Names: []string{"docker.io/library/" + image}})
		}
	}
	pod := prepulltest.Pod(j.name, j.begun)
	pod.Labels[v1alpha1.LabelNodeClass], pod.Labels[v1alpha1.LabelList] = "linux-amd64", j.label
	held := heldOf(j.list)
	for _, l := range j.list[:held] {
		pod.Spec.Volumes = append(pod.Spec.Volumes, imageVolume(entry{Candidate: &Candidate{Name: l.Name, image: l.Image}}))
	}
	tried := true
	for _, l := range j.list[:held] {
		tried = tried && j.has[l.Image]
	}
	if !tried {
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(warmth.InstallContainer, "PodInitializing", "")}
	} else {
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{prepulltest.Done(warmth.InstallContainer, 0, 1)}
	}
	for _, l := range j.list[held:] {
		tried = tried && j.has[l.Image]
		s := prepulltest.Done(l.Name, 1, 2)
		if !tried {
			s = prepulltest.Waits(l.Name, "PodInitializing", "")
		}
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, s)
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(warmth.WaitContainer, "PodInitializing", "")}
	return pod
}

func TestAListWaitsForThePullOfANodeThatJoins(t *testing.T) {
	t.Parallel()
	type step struct {
		at, wait int
		images   int
		pulls    bool
	}
	for name, steps := range map[string][]step{
		"it pulls":                               {{at: 0, pulls: true, wait: 30}, {at: 10, pulls: true, wait: 20}},
		"its pull ends":                          {{at: 0, pulls: true, wait: 30}, {at: 10, pulls: true, images: 1, wait: 0}},
		"its pull ended a moment ago":            {{at: 0, pulls: true, wait: 30}, {at: 1, pulls: true, images: 1, wait: 1}, {at: 2, pulls: true, images: 1, wait: 0}},
		"its pull ended, and the next has begun": {{at: -9, pulls: true, wait: 30}, {at: -8, pulls: true, images: 1, wait: 30}, {at: 0, pulls: true, images: 1, wait: 22}},
		"it pulls nothing that stays":            {{at: 0, wait: 2}, {at: 2, wait: 0}},
		"it loses a pull, and gets twice as long": {
			{at: 0, pulls: true, wait: 30}, {at: 30, pulls: true, wait: 0}, {at: 31, pulls: true, wait: 59}, {at: 90, pulls: true, wait: 0}, {at: 91, pulls: true, wait: 119},
		},
		"it loses none": {
			{at: 0, pulls: true, wait: 30}, {at: 20, pulls: true, images: 1, wait: 0}, {at: 21, pulls: true, images: 1, wait: 29},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := Debounce{Clocks: clock.Production()}
			for i, step := range steps {
				now := prepulltest.Noon.Add(time.Duration(step.at) * time.Second)
				why := reasons{Ordinary: true}
				if step.at < 0 {
					why = reasons{}
				}
				wait := d.Wait(why, map[string]Joining{"node": {Images: step.images, Interrupted: step.pulls}}, now)
				if why.Ordinary && wait != time.Duration(step.wait)*time.Second {
					t.Errorf("step %d: the list waits %s, want %d s", i, wait, step.wait)
				}
				if why.Ordinary && wait == 0 {
					d.Done(now)
				}
			}
		})
	}
}

// Nodes whose pulls end at different times hold a list back no longer than one of them.
func TestManyNodesThatJoinHoldAListBackForLittle(t *testing.T) {
	t.Parallel()
	d := Debounce{Clocks: clock.Production()}
	for second := range 60 {
		joining := map[string]Joining{"a": {Images: second / 10, Interrupted: true}, "b": {Images: (second + 5) / 10, Interrupted: true}}
		if d.Wait(reasons{Ordinary: true}, joining, prepulltest.Noon.Add(time.Duration(second)*time.Second)) == 0 {
			if second > 30 {
				t.Errorf("it waited %d seconds", second)
			}
			return
		}
	}
	t.Error("it waits for ever")
}
