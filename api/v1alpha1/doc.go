// Package v1alpha1 holds everything of kube-prepull that users write or read by name: the PrepullImage resource,
// the manager's configuration file, and the labels and annotations that opt workloads in and out.
//
// +kubebuilder:object:generate=true
// +groupName=kube-prepull.io
package v1alpha1
