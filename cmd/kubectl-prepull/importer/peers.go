package importer

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	sigsjson "sigs.k8s.io/json"
)

// imageCache is an ImageCache of kube-fledged. In v1alpha2 an image is a string, in v1alpha3 an object.
type imageCache struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            struct {
		CacheSpec []struct {
			Images       []cachedImage     `json:"images"`
			NodeSelector map[string]string `json:"nodeSelector"`
		} `json:"cacheSpec"`
		ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
	} `json:"spec"`
	Status json.RawMessage `json:"status"`
}

type cachedImage struct {
	Name           string `json:"name"`
	ForceFullCache bool   `json:"forceFullCache"`

	// unknown are errors about fields that nobody accounts for.
	unknown []error
}

// UnmarshalJSON takes both forms.
func (c *cachedImage) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		return json.Unmarshal(text, &c.Name)
	}
	type object cachedImage
	unknown, err := sigsjson.UnmarshalStrict(text, (*object)(c))
	c.unknown = unknown
	return err
}

// imagePullJob is an ImagePullJob or an ImageListPullJob of OpenKruise: they differ in the images alone.
type imagePullJob struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            pullJobSpec       `json:"spec"`
	Status          json.RawMessage   `json:"status"`
}

type pullJobSpec struct {
	Image       string                `json:"image"`
	Images      []string              `json:"images"`
	PullSecrets []string              `json:"pullSecrets"`
	Selector    *nodeSelector         `json:"selector"`
	PodSelector *metav1.LabelSelector `json:"podSelector"`
	Parallelism *intstr.IntOrString   `json:"parallelism"`
	PullPolicy  *struct {
		TimeoutSeconds *int32 `json:"timeoutSeconds"`
		BackoffLimit   *int32 `json:"backoffLimit"`
	} `json:"pullPolicy"`
	CompletionPolicy struct {
		Type                    string `json:"type"`
		ActiveDeadlineSeconds   *int64 `json:"activeDeadlineSeconds"`
		TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished"`
	} `json:"completionPolicy"`
	SandboxConfig   json.RawMessage `json:"sandboxConfig"`
	ImagePullPolicy string          `json:"imagePullPolicy"`
}

type nodeSelector struct {
	Names                []string `json:"names"`
	metav1.LabelSelector `json:",inline"`
}

// advancedCronJob is what counts of an AdvancedCronJob of OpenKruise.
type advancedCronJob struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Schedule string `json:"schedule"`
		Paused   bool   `json:"paused"`
		Template struct {
			ImageListPullJobTemplate *struct {
				Spec pullJobSpec `json:"spec"`
			} `json:"imageListPullJobTemplate"`
		} `json:"template"`
	} `json:"spec"`
}
