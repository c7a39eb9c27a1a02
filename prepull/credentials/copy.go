package credentials

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Annotations of a copy.
const (
	// AnnotationSource is the Secret that it is a copy of, such as shop/registry. A copy of an earlier version may name several.
	AnnotationSource = "kube-prepull.io/pull-secret-sources"

	// annotationMissing is since when that is gone or not valid.
	annotationMissing = "kube-prepull.io/pull-secret-missing"

	// annotationChanged is when a login in it changed last.
	annotationChanged = "kube-prepull.io/pull-secret-changed"

	// annotationStrays is on copies of an earlier version.
	annotationStrays = "kube-prepull.io/pull-secret-strays"
)

// pullCopy is a Secret in our namespace with logins of a pull secret of workloads.
type pullCopy struct {
	name string

	// Source is the Secret that it is a copy of.
	Source v1alpha1.SecretReference

	// config is its content.
	config pullsecret.Config

	// missing is since when the source is not there or not valid, in whole seconds; zero if it is.
	missing time.Time

	// changed is when a login in it changed last, in whole seconds.
	changed time.Time

	// version is its resource version.
	version string
}

// equal tells whether two copies are stored as the same.
func (c pullCopy) equal(other pullCopy) bool {
	return c.name == other.name && c.Source == other.Source && c.config.Equal(other.config) && c.missing.Equal(other.missing) && c.changed.Equal(other.changed)
}

// CopyOf reads a stored copy; false if the Secret is not one. A copy of several Secrets stays that of the first.
func CopyOf(s *corev1.Secret) (pullCopy, bool) {
	if !strings.HasPrefix(s.Name, v1alpha1.CopyPrefix) || s.Type != corev1.SecretTypeDockerConfigJson || s.DeletionTimestamp != nil {
		return pullCopy{}, false
	}
	var sources []v1alpha1.SecretReference
	for text := range strings.SplitSeq(s.Annotations[AnnotationSource], ",") {
		if ref, ok := parseReference(text); ok {
			sources = append(sources, ref)
		}
	}
	c := pullCopy{name: s.Name, config: pullsecret.Read(s.Data[corev1.DockerConfigJsonKey]), version: s.ResourceVersion}
	if len(sources) > 0 {
		c.Source = slices.MinFunc(sources, workload.CompareSecrets)
	}
	c.missing, _ = time.Parse(time.RFC3339, s.Annotations[annotationMissing])
	c.changed, _ = time.Parse(time.RFC3339, s.Annotations[annotationChanged])
	return c, true
}

func parseReference(text string) (v1alpha1.SecretReference, bool) {
	namespace, name, ok := strings.Cut(text, "/")
	return v1alpha1.SecretReference{Namespace: namespace, Name: name}, ok && namespace != "" && name != ""
}

// annotations are what is stored of a copy beside its content.
func (c pullCopy) annotations() map[string]string {
	annotations := map[string]string{
		AnnotationSource:  c.Source.String(),
		annotationChanged: c.changed.UTC().Format(time.RFC3339),
	}
	if !c.missing.IsZero() {
		annotations[annotationMissing] = c.missing.UTC().Format(time.RFC3339)
	}
	return annotations
}

// secret is a new copy. It is of the newer type whatever its source is.
func (c pullCopy) secret(namespace string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: c.name, Labels: v1alpha1.PrepullLabels(), Annotations: c.annotations()},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: c.config.Content()},
	}
}

// patch changes a stored copy, if it is still the one that was read.
func (c pullCopy) patch(was pullCopy) map[string]any {
	annotations := map[string]any{annotationMissing: nil, annotationStrays: nil}
	for key, value := range c.annotations() {
		annotations[key] = value
	}
	patch := map[string]any{"metadata": map[string]any{"resourceVersion": was.version, "annotations": annotations}}
	if !c.config.Equal(was.config) {
		patch["data"] = map[string][]byte{corev1.DockerConfigJsonKey: c.config.Content()}
	}
	return patch
}
