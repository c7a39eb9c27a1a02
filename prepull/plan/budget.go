package plan

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
)

// unbounded bytes are as many as there may ever be.
const unbounded = math.MaxInt64

// budget is how much room a node has for images, or what some images take of it.
type budget struct {
	images int
	bytes  int64
}

// budgetOf a class is what its smallest node has room for: every node of the class gets the same images.
func budgetOf(c *nodeclass.Class, o Options) budget {
	return budget{images: o.MaxImagesPerNode, bytes: maxBytes(o.MaxBytesPerNode, c.Nodes)}
}

// maxBytes is a quantity, or a percentage of the allocatable ephemeral storage of the smallest node. A percentage bounds
// nothing while no node reports its storage.
func maxBytes(limit string, nodes []*corev1.Node) int64 {
	if number, percent := strings.CutSuffix(limit, "%"); percent {
		share, err := strconv.ParseInt(number, 10, 8)
		smallest := smallestStorage(nodes)
		if err != nil || smallest == unbounded {
			return unbounded
		}
		whole := coarse(smallest)
		return whole/100*share + whole%100*share/100
	}
	q, err := resource.ParseQuantity(limit)
	if err != nil {
		return unbounded
	}
	return q.Value()
}

// smallestStorage is the least allocatable ephemeral storage that a node reports, unbounded if none does.
func smallestStorage(nodes []*corev1.Node) int64 {
	smallest := int64(unbounded)
	for _, n := range nodes {
		if q, found := n.Status.Allocatable[corev1.ResourceEphemeralStorage]; found && q.Sign() > 0 {
			smallest = min(smallest, q.Value())
		}
	}
	return smallest
}

// coarse is n rounded down by 3% at most. Nodes of one kind report their storage with small differences, and a budget that
// follows those would change the list whenever one of them comes or goes.
func coarse(n int64) int64 {
	drop := max(0, bits.Len64(uint64(n))-6)
	return n >> drop << drop
}

// fits tells whether there is room for one more image.
func (b budget) fits(used budget, c *Candidate) bool {
	return used.images < b.images && c.bytes() <= b.bytes-used.bytes
}

// plus is what an image and the others take together. A sum that is too large to tell is as large as can be.
func (b budget) plus(c *Candidate) budget {
	return budget{images: b.images + 1, bytes: b.bytes + min(c.bytes(), unbounded-b.bytes)}
}

// fitsAll tells whether there is room for all of some images.
func (b budget) fitsAll(images []*ClassImage) bool {
	var used budget
	for _, image := range images {
		if !b.fits(used, image.Candidate) {
			return false
		}
		used = used.plus(image.Candidate)
	}
	return true
}

// dominantShare of a budget is the larger one of the shares of its images and of its bytes.
func (b budget) dominantShare(used budget) float64 {
	return max(float64(used.images)/float64(b.images), float64(used.bytes)/float64(b.bytes))
}

// maxLastWords is how much is told of the name of an image.
const maxLastWords = 200

// leaveOut tells why images have no place in a budget of which others use a part. They are in the order of their rank,
// and how many go before them is told, and which is the last one with a place; last is empty if there is none.
func (b budget) leaveOut(images []*ClassImage, used budget, last string) []skip {
	places := fmt.Sprintf("A node gets %d images at most (maxImagesPerNode)", b.images)
	bytes := fmt.Sprintf("The images of a node take %s at most (maxBytesPerNode)", sizeWords(b.bytes))
	before := fmt.Sprintf(", and %d with %s go before this one with ", used.images, sizeWords(used.bytes))
	after := ""
	if last != "" {
		after = " The last one with a place is " + last[:min(len(last), maxLastWords)] + "."
	}
	skips := make([]skip, len(images))
	for i, c := range images {
		s := skip{reason: SkippedOverBudget}
		switch {
		case c.bytes() > b.bytes:
			s.why = bytes + ", and this one alone takes " + c.bytesWords() + "."
		case used.images >= b.images:
			s.why, s.detail = places, ", and "+strconv.Itoa(used.images+i)+" go before this one."+after
		default:
			s.why, s.detail = bytes, before+c.bytesWords()+"."+after
		}
		skips[i] = s
	}
	return skips
}

// sizeWords is a number of bytes for people, 0 included.
func sizeWords(bytes int64) string {
	if bytes == 0 {
		return "0 B"
	}
	return v1alpha1.HumanSize(bytes)
}

// bytes is the size that the image counts with.
func (c *Candidate) bytes() int64 {
	if c.Size <= 0 {
		return assumedSize
	}
	return c.Size
}

// bytesWords is the same for people.
func (c *Candidate) bytesWords() string {
	if c.Size <= 0 {
		return fmt.Sprintf("%s as long as its size is not known", v1alpha1.HumanSize(assumedSize))
	}
	return v1alpha1.HumanSize(c.Size)
}
