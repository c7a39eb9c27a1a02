package v1alpha1

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Mirror is what serves images to nodes in the place of the registry: a pod on each node.
//
// +kubebuilder:object:generate=false
type Mirror struct {
	// namespace is where its pods are. Default: empty.
	Namespace string `json:"namespace"`

	// podSelector is the labels of its pods. With some, prepull pods wait until the mirror of their node is ready, and an image
	// that is new goes to one node of each zone (topology.kubernetes.io/zone) before it goes to the others. Default: {}.
	PodSelector map[string]string `json:"podSelector"`

	// deadline is how long a prepull pod waits for both at most, from 1s to 1h. Default: 2m.
	Deadline metav1.Duration `json:"deadline"`
}

// UnmarshalJSON reads a mirror, in which what is left out has its default.
func (m *Mirror) UnmarshalJSON(data []byte) error {
	type plain Mirror // without this method
	*m = defaultConfiguration().Mirror
	read := plain(*m)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return err
	}
	*m = Mirror(read)
	return nil
}

func (m *Mirror) validate(path *field.Path) field.ErrorList {
	var problems field.ErrorList
	if (len(m.PodSelector) > 0) != (m.Namespace != "") {
		problems = append(problems, field.Invalid(path.Child("namespace"), m.Namespace, "must be set with podSelector, and with nothing else"))
	} else if m.Namespace != "" && len(validation.IsDNS1123Label(m.Namespace)) > 0 {
		problems = append(problems, field.Invalid(path.Child("namespace"), m.Namespace, "must be the name of a namespace"))
	}
	for _, key := range slices.Sorted(maps.Keys(m.PodSelector)) {
		if len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(m.PodSelector[key])) > 0 {
			problems = append(problems, field.Invalid(path.Child("podSelector"), key+"="+m.PodSelector[key], "must be a label"))
		}
	}
	if d := m.Deadline.Duration; d < time.Second || d > time.Hour {
		problems = append(problems, field.Invalid(path.Child("deadline"), d.String(), "must be from 1s to 1h"))
	}
	return problems
}
