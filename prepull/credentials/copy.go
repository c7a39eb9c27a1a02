package credentials

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// CopyPrefix is what the names of all copies start with.
const CopyPrefix = v1alpha1.Name + "-pull-"

// Annotations of a copy.
const (
	// AnnotationSources are the Secrets that it is a copy of: shop/registry,web/registry.
	AnnotationSources = "kube-prepull.io/pull-secret-sources"

	// annotationStrays are those of them that do not say the same at the moment, since when and why:
	// shop/registry=differs@2026-11-23T12:00:00Z.
	annotationStrays = "kube-prepull.io/pull-secret-strays"

	// annotationChanged is when its credentials changed last.
	annotationChanged = "kube-prepull.io/pull-secret-changed"
)

// pullCopy is a Secret in our namespace with the credentials of one or more pull secrets of workloads. It does not hold
// the credentials themselves.
type pullCopy struct {
	name string

	// hash of its content.
	hash string

	// Sources are the Secrets that it is a copy of, sorted.
	Sources []v1alpha1.SecretReference

	// divergent are the sources that do not say the same.
	divergent map[v1alpha1.SecretReference]divergence

	// changed is when its content changed last, in whole seconds.
	changed time.Time

	// version is its resource version.
	version string
}

// divergence is why and since when a source does not say what its copy does.
type divergence struct {
	// missing is set if the source is not there or not valid; otherwise it differs, and another source was followed.
	missing bool
	since   time.Time
}

// equal tells whether two copies are stored as the same.
func (c pullCopy) equal(other pullCopy) bool {
	return c.name == other.name && c.hash == other.hash && c.changed.Equal(other.changed) && slices.Equal(c.Sources, other.Sources) &&
		maps.EqualFunc(c.divergent, other.divergent, func(a, b divergence) bool { return a.missing == b.missing && a.since.Equal(b.since) })
}

// CopyOf reads a stored copy; false if the Secret is not one.
func CopyOf(s *corev1.Secret) (pullCopy, bool) {
	if !strings.HasPrefix(s.Name, CopyPrefix) || s.Type != corev1.SecretTypeDockerConfigJson || s.DeletionTimestamp != nil {
		return pullCopy{}, false
	}
	c := pullCopy{
		name:      s.Name,
		hash:      pullsecret.Hash(s.Data[corev1.DockerConfigJsonKey]),
		divergent: map[v1alpha1.SecretReference]divergence{},
		version:   s.ResourceVersion,
	}
	c.changed, _ = time.Parse(time.RFC3339, s.Annotations[annotationChanged])
	for text := range strings.SplitSeq(s.Annotations[AnnotationSources], ",") {
		if ref, ok := parseReference(text); ok {
			c.Sources = append(c.Sources, ref)
		}
	}
	slices.SortFunc(c.Sources, workload.CompareSecrets)
	c.Sources = slices.Compact(c.Sources)
	for text := range strings.SplitSeq(s.Annotations[annotationStrays], ",") {
		source, rest, _ := strings.Cut(text, "=")
		why, when, _ := strings.Cut(rest, "@")
		ref, ok := parseReference(source)
		since, err := time.Parse(time.RFC3339, when)
		if ok && err == nil {
			c.divergent[ref] = divergence{missing: why == "missing", since: since}
		}
	}
	return c, true
}

func parseReference(text string) (v1alpha1.SecretReference, bool) {
	namespace, name, ok := strings.Cut(text, "/")
	return v1alpha1.SecretReference{Namespace: namespace, Name: name}, ok && namespace != "" && name != ""
}

// annotations are what is stored of a copy beside its content.
func (c pullCopy) annotations() map[string]string {
	var sources, divergent []string
	for _, ref := range c.Sources {
		sources = append(sources, ref.String())
		if s, found := c.divergent[ref]; found {
			why := "differs"
			if s.missing {
				why = "missing"
			}
			divergent = append(divergent, fmt.Sprintf("%s=%s@%s", ref.String(), why, s.since.UTC().Format(time.RFC3339)))
		}
	}
	return map[string]string{
		AnnotationSources: strings.Join(sources, ","),
		annotationStrays:  strings.Join(divergent, ","),
		annotationChanged: c.changed.UTC().Format(time.RFC3339),
	}
}

// secret is a new copy. It is of the newer type whatever its sources are.
func (c pullCopy) secret(namespace string, content []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: c.name, Labels: v1alpha1.PrepullLabels(), Annotations: c.annotations()},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: content},
	}
}
