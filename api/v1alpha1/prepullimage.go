package v1alpha1

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Managed is true for an image that kube-prepull learned, false for one that a person declared.
func (i *PrepullImage) Managed() bool { return i.Labels[LabelManagedBy] == Name }

// Declared is true as long as what a person declared decides about the image. With a ttl that is until a workload uses it, and
// from then on the image counts as a learned one.
func (i *PrepullImage) Declared() bool {
	return !i.Managed() && (i.Spec.TTL == nil || i.Status.FirstSeenTime == nil)
}

// Placement is where a declared image goes.
func (s *PrepullImageSpec) Placement() Placement {
	var p Placement
	for key, value := range s.NodeSelector {
		if p.NodeSelector == nil {
			p.NodeSelector = map[string]string{}
		}
		p.NodeSelector[key] = string(value)
	}
	for _, t := range s.Tolerations {
		p.Tolerations = append(p.Tolerations, corev1.Toleration(t))
	}
	return p
}

// SetPlacement says where a declared image goes: node selector and tolerations, and nothing else that a placement has.
func (s *PrepullImageSpec) SetPlacement(p Placement) {
	s.NodeSelector, s.Tolerations = nil, nil
	for key, value := range p.NodeSelector {
		if s.NodeSelector == nil {
			s.NodeSelector = map[string]LabelValue{}
		}
		s.NodeSelector[key] = LabelValue(value)
	}
	for _, t := range p.Tolerations {
		s.Tolerations = append(s.Tolerations, Toleration(t))
	}
}

// String is namespace/name.
func (r SecretReference) String() string { return r.Namespace + "/" + r.Name }

// PrepullLabels are on every prepull DaemonSet and pod, and on the copies of pull secrets.
func PrepullLabels() map[string]string {
	return map[string]string{LabelName: Name, LabelComponent: ComponentPrepull}
}

// HumanSize is a number of bytes for people, in powers of 1000; empty for 0.
func HumanSize(bytes int64) string {
	if bytes <= 0 {
		return ""
	}
	value, unit := float64(bytes), "B"
	for _, larger := range []string{"KB", "MB", "GB", "TB"} {
		// From 999.5 on it would be printed as 1000.
		if value < 999.5 {
			break
		}
		value, unit = value/1000, larger
	}
	if value < 9.95 && unit != "B" {
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.0f %s", value, unit)
}
