// Package pulled tells from the events of kubelets whether a container's image was there when the container started, and
// what it took to get it if not.
package pulled

import (
	"regexp"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// Reason of the events that kubelets write when an image is there, pulled or not. The source of this and of the words that
// are read here is pkg/kubelet/images/image_manager.go of Kubernetes.
const Reason = "Pulled"

// Selector selects the events that Parse understands, among a few others.
var Selector = fields.Set{"reason": Reason, "involvedObject.kind": "Pod"}.AsSelector()

// Image is what a kubelet says about the image of a container that is about to start.
type Image struct {
	// Name of the image as the pod writes it.
	Name string

	// Present is true if the node had the image already; everything below is then 0.
	Present bool

	// Took is how long the pull itself took.
	Took time.Duration

	// Waited is Took with the time that the pull stood in the kubelet's queue: what the container waited. Kubelets before
	// 1.26 do not tell it; it is Took then.
	Waited time.Duration

	// Bytes of the image; 0 if the kubelet does not say (before 1.29).
	Bytes int64
}

// maxMessage is longer than any message of a kubelet, whose events are cut at 1024 bytes. Others may write events too, and what is
// read of a message keeps all of it in memory.
const maxMessage = 4096

var (
	presentWords = regexp.MustCompile(`^Container image ("(?:[^"\\]|\\.)*") already present on machine`)
	pulledWords  = regexp.MustCompile(`^Successfully pulled image ("(?:[^"\\]|\\.)*") in ([0-9a-zµ.]+)(?: \(([0-9a-zµ.]+) including waiting\))?(?:\. Image size: (\d+) bytes)?`)
)

// Parse reads an event. It returns false if the event is not about an image that is there.
func Parse(e *corev1.Event) (Image, bool) {
	if e.Reason != Reason || len(e.Message) > maxMessage {
		return Image{}, false
	}
	if words := presentWords.FindStringSubmatch(e.Message); words != nil {
		name, err := strconv.Unquote(words[1])
		return Image{Name: name, Present: true}, err == nil
	}
	words := pulledWords.FindStringSubmatch(e.Message)
	if words == nil {
		return Image{}, false
	}
	name, err := strconv.Unquote(words[1])
	took, tookErr := time.ParseDuration(words[2])
	if err != nil || tookErr != nil || took < 0 {
		return Image{}, false
	}
	i := Image{Name: name, Took: took, Waited: took}
	if waited, err := time.ParseDuration(words[3]); err == nil {
		i.Waited = max(took, waited)
	}
	i.Bytes, _ = strconv.ParseInt(words[4], 10, 64) // empty is 0
	return i, true
}
