package plan

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// sameForm tells whether the stored DaemonSet of a class was written with the template of the desired one. Another manager may have
// written the same list in another form; what somebody changed since has nothing to do with that.
func sameForm(stored, desired *appsv1.DaemonSet) bool {
	was, spec := stored.Annotations[AnnotationSpecHash], desired.Spec
	spec.UpdateStrategy = stored.Spec.UpdateStrategy // as it was written, unless somebody changed it
	return was == specHash(&spec) || was == specHash(&desired.Spec)
}

// keepForm gives a DaemonSet whose pods are being replaced the template of the stored one, if that has another form. It comes into
// its own form after the roll. What somebody changed since is not kept: accepted is as for upToDate.
func keepForm(ds, stored *appsv1.DaemonSet, accepted string) {
	if sameForm(stored, ds) || accepted != "" && accepted != AcceptedHash(&stored.Spec) {
		return
	}
	ds.Spec.Template = *stored.Spec.Template.DeepCopy()
	sign(ds)
	if equality.Semantic.DeepEqual(ds.Spec, stored.Spec) {
		ds.Annotations[AnnotationSpecHash] = stored.Annotations[AnnotationSpecHash]
	}
}
