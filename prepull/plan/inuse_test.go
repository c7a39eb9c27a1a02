package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestWhatIsInUseGoesBeforeWhatIsKept(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 5
	s := State{Nodes: prepulltest.Nodes(2)}
	for i, image := range []string{"a:v1", "b:v1", "c:v1", "d:v1", "e:v1"} {
		s.Images = append(s.Images, inUse(image))
		s.Images[i].Status.Starts = prepulltest.Learned(image, 9-i).Status.Starts
	}
	s.settle(t, o, none)
	s.Images[0].Status.UserCount = 0
	s.Images = append(s.Images, inUse("a:v2"))
	s.settle(t, o, none)
	got := s.listOf("linux-amd64")
	slices.Sort(got)
	if fmt.Sprint(got) != "[a:v2 b:v1 c:v1 d:v1 e:v1]" {
		t.Errorf("listed are %v", got)
	}
}

func TestNothingInUseIsLeftOutForWhatIsKept(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		var images []*Candidate
		for i := range 1 + r.IntN(40) {
			c := wantedBy(fmt.Sprintf("image-%02d", i), float64(r.IntN(5)), int64(1+r.IntN(60)), fmt.Sprint("n", r.IntN(4)))
			c.inUse, c.declared = r.IntN(2) == 0, r.IntN(9) == 0
			c.inUse = c.inUse || c.declared
			images = append(images, c)
		}
		b := budget{1 + r.IntN(20), int64(1 + r.IntN(300))}
		chosen, _ := chooseAmong(images, nil, nil, b)
		for _, c := range images {
			if !c.inUse || slices.Contains(chosen, c) {
				continue
			}
			var used budget
			for _, other := range chosen {
				if other.inUse {
					used = used.plus(other)
				}
			}
			if b.fits(used, c) {
				t.Fatalf("seed %d: %s is in use and left out, and what is in use takes %+v of %+v", seed, c.Name, used, b)
			}
		}
	}
}

// Nodes report other sizes than registries do, and a class has room for a sixth of the images, which are all worth the same.
func TestAConstantWorldComesToRest(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		s := State{Nodes: prepulltest.Nodes(2)}
		sizes := rand.New(rand.NewPCG(1, 1))
		size := map[string]int64{}
		for i := range 300 {
			o := prepulltest.Learned(fmt.Sprintf("app-%03d:1", i), 0)
			o.Status.UserCount = 1
			size[o.Spec.Image] = int64(50+sizes.IntN(400)) << 20
			if known {
				o.Status.DownloadBytes = size[o.Spec.Image] / 3
			}
			s.Images = append(s.Images, o)
		}
		lists := 0
		for i := range 20 {
			now := prepulltest.Noon.Add(time.Duration(i) * time.Minute)
			p := Make(s, testOptions, now)
			lists += len(p.Roll)
			s.carryOut(p)
			s.runPods(now, none)
			for j := range s.Nodes {
				s.Nodes[j].Status.Images = nil
				for _, image := range s.listOf("linux-amd64") {
					s.Nodes[j].Status.Images = append(s.Nodes[j].Status.Images, corev1.ContainerImage{
						Names: []string{"docker.io/library/" + image}, SizeBytes: size[image],
					})
				}
			}
		}
		if lists != 1 {
			t.Errorf("sizes known before: %v: %d lists are written", known, lists)
		}
	}
}

func TestRankOfWhatIsKept(t *testing.T) {
	t.Parallel()
	kept, used := wantedBy("kept", 9, 1, "shop"), wantedBy("used", 1, 1, "shop")
	used.inUse = true
	if got := namesOf(rankAmong([]*Candidate{kept, used}, map[*Candidate]bool{kept: true}, nil)); got != "used kept" {
		t.Errorf("ranked: %s", got)
	}
}
