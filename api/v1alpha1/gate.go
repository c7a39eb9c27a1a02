package v1alpha1

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Gate is how new nodes are kept free of pods until they are warm: they register with a taint, which is taken away.
//
// +kubebuilder:object:generate=false
type Gate struct {
	// enabled is true if the taint is taken from nodes that are warm. Nothing ever adds it. Default: false.
	Enabled bool `json:"enabled"`

	// taintKey is the key of the taint: kube-prepull.io/, startup-taint.cluster-autoscaler.kubernetes.io/ or readiness.k8s.io/
	// and a name. Default: kube-prepull.io/warming.
	TaintKey string `json:"taintKey"`

	// deadline is how long after its creation a node is untainted at the latest, from 10s to 1h. Default: 5m.
	Deadline metav1.Duration `json:"deadline"`

	// maxBytes is how much a node must have pulled at most before it is called warm, as a quantity; images that a workload
	// requires count however large they are. Default: 10Gi.
	MaxBytes string `json:"maxBytes"`
}

// UnmarshalJSON reads a gate, in which what is left out has its default.
func (g *Gate) UnmarshalJSON(data []byte) error {
	type plain Gate // without this method
	*g = defaultConfiguration().Gate
	read := plain(*g)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return err
	}
	*g = Gate(read)
	return nil
}

// The gate's deadline: less has no node warm, and more would keep a broken one from work for too long.
const (
	minGateDeadline = 10 * time.Second
	maxGateDeadline = time.Hour
)

// gateKeyPrefixes are of the taints that are ours to take away: nobody else waits for them.
var gateKeyPrefixes = []string{GroupVersion.Group + "/", StartupTaintPrefix, ReadinessTaintPrefix}

// MayBeGate tells whether a gate may have a taint with a key.
func MayBeGate(key string) bool {
	return slices.ContainsFunc(gateKeyPrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

func (g *Gate) validate(path *field.Path) field.ErrorList {
	var problems field.ErrorList
	if !MayBeGate(g.TaintKey) || len(validation.IsQualifiedName(g.TaintKey)) > 0 {
		problems = append(problems, field.Invalid(path.Child("taintKey"), g.TaintKey,
			"must be "+strings.Join(gateKeyPrefixes[:len(gateKeyPrefixes)-1], ", ")+" or "+gateKeyPrefixes[len(gateKeyPrefixes)-1]+" and a name: other taints are not ours to take away"))
	}
	if d := g.Deadline.Duration; d < minGateDeadline || d > maxGateDeadline {
		problems = append(problems, field.Invalid(path.Child("deadline"), d.String(), "must be from 10s to 1h"))
	}
	if q, err := resource.ParseQuantity(g.MaxBytes); err != nil || q.Sign() <= 0 {
		problems = append(problems, field.Invalid(path.Child("maxBytes"), g.MaxBytes, "must be a quantity such as 10Gi, larger than 0"))
	}
	return problems
}
