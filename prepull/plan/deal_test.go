package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestADeal covers how images are dealt to lanes.
func TestADeal(t *testing.T) {
	t.Parallel()
	type image struct {
		size int64
		in   []int
	}
	tests := map[string]struct {
		images []image
		lanes  int
		want   []int
	}{
		"one lane has all":                             {[]image{{5, nil}, {9, []int{1}}, {7, []int{2}}}, 1, []int{1, 1, 1}},
		"the largest go first, to the lightest lane":   {[]image{{5, nil}, {9, nil}, {7, nil}, {4, nil}}, 2, []int{2, 1, 2, 1}},
		"a lane without an image is no matter":         {[]image{{5, nil}}, 4, []int{1}},
		"an image keeps its lane":                      {[]image{{5, []int{2}}, {9, []int{2}}, {7, []int{1}}, {4, nil}}, 2, []int{2, 2, 1, 1}},
		"too uneven, and all is dealt anew":            {[]image{{9, []int{1}}, {8, []int{1}}, {7, []int{1}}, {6, []int{1}}}, 4, []int{1, 2, 3, 4}},
		"half done, and it stays so":                   {[]image{{9, []int{1}}, {8, []int{1, 2}}, {7, []int{1, 3}}, {6, []int{1, 4}}}, 4, []int{1, 2, 3, 4}},
		"a lane that goes leaves its images to others": {[]image{{9, []int{1}}, {8, []int{2}}, {7, []int{3}}, {6, []int{4}}}, 2, []int{1, 2, 2, 1}},
		"an unknown size is a usual one":               {[]image{{0, nil}, {300 << 20, nil}, {150 << 20, nil}}, 2, []int{2, 1, 2}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var images []*ClassImage
			for i, image := range test.images {
				images = append(images, &ClassImage{Candidate: &Candidate{Name: fmt.Sprint(i), Size: image.size}, in: image.in})
			}
			deal(images, test.lanes)
			if got := lanesIn(images); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func lanesIn(images []*ClassImage) []int {
	var lanes []int
	for _, image := range images {
		lanes = append(lanes, image.lane)
	}
	return lanes
}

// TestDealsAreFairAndStay deals random images: at first the heaviest lane is within Graham's bound of a perfect one, later within
// maxUneven of a fresh deal; and what was dealt, or is half moved, is dealt the same.
func TestDealsAreFairAndStay(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		var images []*ClassImage
		lanes := 1 + r.IntN(8)
		for round := range 6 {
			if round > 0 {
				lanes = 1 + r.IntN(8)
			}
			for range 1 + r.IntN(12) {
				images = append(images, &ClassImage{Candidate: &Candidate{Name: fmt.Sprint(len(images)), Size: 1 + r.Int64N(1<<30)}})
			}
			fresh, most := heaviest(images, lanes, false), heaviest(images, lanes, true)
			var total, largest int64
			for _, image := range images {
				total, largest = total+image.Size, max(largest, image.Size)
			}
			// Graham: any list in order is within total/n + (1-1/n) * largest.
			if n := int64(lanes); fresh > total/n+largest-largest/n+1 {
				t.Fatalf("seed %d: %d bytes in a lane of %d", seed, fresh, lanes)
			}
			if float64(most) > maxUneven*float64(fresh) {
				t.Fatalf("seed %d: %d bytes in a lane, %d after a fresh deal", seed, most, fresh)
			}
			deal(images, lanes)
			first := lanesIn(images)
			for _, image := range images {
				if image.lane < 1 || image.lane > lanes {
					t.Fatalf("seed %d: lane %d of %d", seed, image.lane, lanes)
				}
				if !slices.Contains(image.in, image.lane) {
					image.in = slices.Sorted(slices.Values(append(slices.Clone(image.in), image.lane)))
				}
			}
			deal(images, lanes)
			if again := lanesIn(images); !slices.Equal(first, again) {
				t.Fatalf("seed %d: half moved, %v became %v", seed, first, again)
			}
			for _, image := range images {
				image.in = []int{image.lane}
			}
			deal(images, lanes)
			if again := lanesIn(images); !slices.Equal(first, again) {
				t.Fatalf("seed %d: moved, %v became %v", seed, first, again)
			}
		}
	}
}

// heaviest lane of a deal, with the images where they are or afresh.
func heaviest(images []*ClassImage, lanes int, stay bool) int64 {
	var dealt []*ClassImage
	for _, image := range images {
		one := &ClassImage{Candidate: image.Candidate}
		if stay {
			one.in = image.in
		}
		dealt = append(dealt, one)
	}
	deal(dealt, lanes)
	load := map[int]int64{}
	for _, image := range dealt {
		load[image.lane] += image.Size
	}
	return slices.Max(slices.Collect(maps.Values(load)))
}
