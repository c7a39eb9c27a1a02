package plan

import (
	"fmt"
	"math"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// storageNodes are nodes with an allocatable ephemeral storage each; empty means that the node does not report it.
func storageNodes(allocatable ...string) []*corev1.Node {
	var nodes []*corev1.Node
	for i, storage := range allocatable {
		n := prepulltest.Node(fmt.Sprint("n", i), "amd64")
		if storage != "" {
			n.Status.Allocatable = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(storage)}
		}
		nodes = append(nodes, &n)
	}
	return nodes
}

func TestBytesOfANode(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limit string
		nodes []*corev1.Node
		want  int64
	}{
		"a quantity is meant for every node":              {"50Gi", storageNodes("10Gi"), 50 << 30},
		"a quantity needs no node that reports":           {"50Gi", storageNodes(""), 50 << 30},
		"nothing is a quantity too":                       {"0", storageNodes("10Gi"), 0},
		"a percentage is one of the smallest node":        {"25%", storageNodes("200Gi", "100Gi", "400Gi"), 25 << 30},
		"all of a node":                                   {"100%", storageNodes("64Gi"), 64 << 30},
		"a node that does not report does not count":      {"25%", storageNodes("", "100Gi", "0"), 25 << 30},
		"no node reports":                                 {"25%", storageNodes("", ""), unbounded},
		"there is no node":                                {"25%", nil, unbounded},
		"more than there is in the world":                 {"100%", storageNodes("8Ei"), math.MaxInt64},
		"what the configuration refuses bounds nothing":   {"", storageNodes("100Gi"), unbounded},
		"a percentage that it refuses bounds nothing too": {"x%", storageNodes("100Gi"), unbounded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := maxBytes(tc.limit, tc.nodes)
			if low := tc.want - tc.want/30; got > tc.want || got < low {
				t.Errorf("%d bytes, want %d or a little less", got, tc.want)
			}
		})
	}
}

func TestSmallDifferencesBetweenNodesChangeNoBudget(t *testing.T) {
	t.Parallel()
	// What nodes of the large providers report.
	for _, allocatable := range []int64{76224326324, 47060071478, 119703055367, 18242267924, 95551679124} {
		want := coarse(allocatable)
		for _, differs := range []int64{-4 << 20, -4096, -1, 1, 4096, 4 << 20} {
			if got := coarse(allocatable + differs); got != want {
				t.Errorf("%d%+d bytes are %d and not %d", allocatable, differs, got, want)
			}
		}
	}
	for n := int64(1); n < math.MaxInt64/3; n = n*3 + 1 {
		if got := coarse(n); got > n || got < n-n/32-1 {
			t.Errorf("%d is rounded to %d", n, got)
		}
	}
	if coarse(0) != 0 {
		t.Error("nothing is rounded")
	}
}

func TestASumOfBytesDoesNotOverflow(t *testing.T) {
	t.Parallel()
	huge := &Candidate{Size: math.MaxInt64 - 5}
	var used budget
	for range 3 {
		used = used.plus(huge)
	}
	if used != (budget{3, math.MaxInt64}) {
		t.Errorf("three of them are %+v", used)
	}
	if (budget{9, unbounded}).fits(used, &Candidate{Size: 1}) {
		t.Error("there is room behind the last byte")
	}
	if !(budget{9, unbounded}).fits(budget{}, huge) {
		t.Error("there is no room for one")
	}
}

func TestWhatIsLeftOutSaysWhy(t *testing.T) {
	t.Parallel()
	b := budget{images: 2, bytes: 30e9}
	for name, tc := range map[string]struct {
		size        int64
		used        budget
		why, detail string
	}{
		"no place": {1e9, budget{2, 3e9}, "A node gets 2 images at most (maxImagesPerNode)", ", and 3 go before this one. The last one with a place is shop/app:v1."},
		"no bytes": {
			5e9, budget{1, 29e9}, "The images of a node take 30 GB at most (maxBytesPerNode)", ", and 1 with 29 GB go before this one with 5.0 GB. The last one with a place is shop/app:v1.",
		},
		"no bytes for what may be anything": {
			0, budget{1, 30e9},
			"The images of a node take 30 GB at most (maxBytesPerNode)", ", and 1 with 30 GB go before this one with 210 MB as long as its size is not known. The last one with a place is shop/app:v1.",
		},
		"larger than the budget, with places or without": {
			40e9, budget{2, 29e9}, "The images of a node take 30 GB at most (maxBytesPerNode), and this one alone takes 40 GB.", "",
		},
	} {
		c := &Candidate{Size: tc.size}
		got := b.leaveOut([]*ClassImage{{Candidate: &Candidate{}}, {Candidate: c}}, tc.used, "shop/app:v1")[1]
		if want := (skip{"OverBudget", tc.why, tc.detail}); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	c := &Candidate{Size: 1}
	if nothing := (budget{images: 2}).leaveOut([]*ClassImage{{Candidate: c}}, budget{}, "")[0]; nothing.why != "The images of a node take 0 B at most (maxBytesPerNode), and this one alone takes 1 B." {
		t.Errorf("no budget at all: %s", nothing.why)
	}
}

func TestALongNameIsCutShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1000)
	got := budget{images: 1, bytes: unbounded}.leaveOut([]*ClassImage{{Candidate: &Candidate{}}}, budget{images: 1}, long)[0]
	if len(got.why)+len(got.detail) > 400 || !strings.Contains(got.detail, long[:maxLastWords]) {
		t.Errorf("%d characters: %s", len(got.detail), got.detail)
	}
}
