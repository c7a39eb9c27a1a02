package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

const (
	// MaxImageLength is how long an image string may be to fit in a PrepullImage, in bytes.
	MaxImageLength = 1024

	// maxReferenceLength is how long the name, the kind or the UID of an object can be. Kubernetes bounds them where an object has
	// them, and not where another one refers to it.
	maxReferenceLength = 253

	// maxNameLength is how many characters the name of a container may have.
	maxNameLength = 63

	// hashBytes are in a name, and longHashBytes in that of an image whose name another one has.
	hashBytes     = 4
	longHashBytes = hashBytes + 8
)

// ObjectName is the name of the PrepullImage and of the init container for an image string: the last part of its
// repository and its tag for people, and a hash of the literal string, because two spellings are two images.
// It is a DNS-1123 label, also for a string that is not a valid image.
func ObjectName(image string) string { return hashed(image, hashBytes) }

// lengths of the hash in a name: one more is for an image string whose name another one has, which only one that somebody searched
// for does.
var lengths = []int{hashBytes, longHashBytes}

// ObjectNames are those that an image string may have, ObjectName first.
func ObjectNames(image string) []string {
	names := make([]string, len(lengths))
	for i, length := range lengths {
		names[i] = hashed(image, length)
	}
	return names
}

// FreeName is the first of ObjectNames that is not taken, false if there is none.
func FreeName(image string, taken map[string]bool) (string, bool) {
	for _, length := range lengths {
		if name := hashed(image, length); !taken[name] {
			return name, true
		}
	}
	return "", false
}

func hashed(image string, bytes int) string {
	sum := sha256.Sum256([]byte(image))
	return slug(image, maxNameLength-1-2*bytes) + "-" + hex.EncodeToString(sum[:bytes])
}

// slug is the readable part of an image string, in lower-case letters, digits and single hyphens, cut to a length.
func slug(image string, length int) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	var b strings.Builder
	b.Grow(min(len(image), length))
	for _, r := range strings.ToLower(image) {
		if b.Len() >= length {
			break
		}
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
			b.WriteByte('-')
		}
	}
	if s := strings.TrimSuffix(b.String(), "-"); s != "" {
		return s
	}
	return "image"
}

// mayExist is false if one of the names, kinds or UIDs of an object is one that none can have. It would be in the status of each
// image of a workload.
func mayExist(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return len(name) > maxReferenceLength })
}

// ValidImage says in words why the kubelet would not accept an image string, or returns nil. An image that it does not
// accept must never get into a DaemonSet: InvalidImageName holds up every image behind it.
func ValidImage(image string) error {
	_, err := CanonicalImage(image)
	return err
}

// CanonicalImage is the name under which a node reports an image, such as docker.io/library/nginx:latest for nginx. The
// error is that of ValidImage.
func CanonicalImage(image string) (string, error) {
	if image == "" {
		return "", errors.New("the image is empty")
	}
	if len(image) > MaxImageLength {
		return "", fmt.Errorf("the image is %d bytes long, %d is the limit", len(image), MaxImageLength)
	}
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return "", fmt.Errorf("the image cannot be parsed: %w", err)
	}
	return named.String(), nil
}

// PulledAs is the same for image strings that a kubelet takes for one: whoever has pulled the one has the other. They differ in
// a tag latest that is left out, or in a tag besides a digest. Another way to write the repository is another string: runtimes
// other than containerd may search elsewhere for a short name, and the kubelet keeps its record of who may use an image by it
// (trimImageTagDigest in pkg/kubelet/images/pullmanager). canonical is the image's CanonicalImage.
func PulledAs(image, canonical string) string {
	repository := Repository(image)
	_, digest, pinned := strings.Cut(canonical, "@")
	if pinned {
		return repository + "@" + digest
	}
	return repository + canonical[strings.LastIndexByte(canonical, ':'):]
}

// Repository is an image string without tag and digest. That of a CanonicalImage is what a kubelet looks for in pull secrets,
// such as docker.io/library/nginx.
func Repository(image string) string {
	repository, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndexByte(repository, ':'); colon > strings.LastIndexByte(repository, '/') {
		repository = repository[:colon]
	}
	return repository
}

// SamePull tells whether a kubelet takes two image strings for one.
func SamePull(a, b string) bool {
	canonical, err := CanonicalImage(a)
	other, otherErr := CanonicalImage(b)
	return a == b || err == nil && otherErr == nil && PulledAs(a, canonical) == PulledAs(b, other)
}
