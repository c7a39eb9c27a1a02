package uninstall

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// thing is one object that is ours, or all of a kind that are.
type thing struct {
	kind schema.GroupVersionKind

	// name of the object. If it is empty, it is all objects with some labels.
	name     string
	selector labels.Selector

	// wide is set if the kind has no namespaces.
	wide bool
}

// The kinds of which something is ours.
var (
	deployments  = kind("apps/v1", "Deployment")
	daemonSets   = kind("apps/v1", "DaemonSet")
	secrets      = kind("v1", "Secret")
	certificates = kind("cert-manager.io/v1", "Certificate")
	issuers      = kind("cert-manager.io/v1", "Issuer")

	prepullImages = v1alpha1.GroupVersion.WithKind("PrepullImage")
)

func kind(apiVersion, name string) schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(apiVersion, name)
}

var (
	webhookConfiguration = thing{kind: kind("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"), name: v1alpha1.Name, wide: true}
	managers             = thing{kind: deployments, name: v1alpha1.Name}
	crd                  = thing{kind: kind("apiextensions.k8s.io/v1", "CustomResourceDefinition"), name: "prepullimages." + v1alpha1.GroupVersion.Group, wide: true}
)

// made are the things that managers and the plugin make, in an order in which nothing that is gone is made again: cert-manager issues what a
// Certificate says.
var made = []thing{
	{kind: daemonSets, selector: labels.SelectorFromSet(v1alpha1.PrepullLabels())},
	{kind: secrets, selector: labels.SelectorFromSet(v1alpha1.PrepullLabels())}, // the copies of pull secrets
	{kind: certificates, name: v1alpha1.Name + "-serving"},
	{kind: issuers, name: v1alpha1.Name + "-issuer"},
	{kind: certificates, name: v1alpha1.Name + "-issuer"},
	{kind: issuers, name: v1alpha1.Name + "-self-signed"},
	{kind: secrets, name: v1alpha1.Name + "-serving"},
	{kind: secrets, name: v1alpha1.Name + "-issuer"},
	{kind: secrets, name: v1alpha1.Name + "-trust"},
	{kind: secrets, name: v1alpha1.Name + "-ca"},
	{kind: kind("coordination.k8s.io/v1", "Lease"), name: v1alpha1.Name},
	{kind: prepullImages, wide: true, selector: labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.Name})},
	// What kubectl prepull wait declared has an end, and nobody is left to see to it.
	{kind: prepullImages, wide: true, selector: labels.SelectorFromSet(labels.Set{v1alpha1.LabelDeclaredBy: v1alpha1.DeclaredByWait})},
}

// installed are the things of the chart, those of its hooks included: it labels all of them, however they came here.
var installed = []thing{
	{kind: kind("batch/v1", "Job"), selector: ofTheChart},
	{kind: kind("v1", "Pod"), name: v1alpha1.Name + "-check"},
	{kind: kind("v1", "Service"), selector: ofTheChart},
	{kind: kind("policy/v1", "PodDisruptionBudget"), selector: ofTheChart},
	{kind: kind("networking.k8s.io/v1", "NetworkPolicy"), selector: ofTheChart},
	{kind: kind("monitoring.coreos.com/v1", "ServiceMonitor"), selector: ofTheChart},
	{kind: kind("monitoring.coreos.com/v1", "PodMonitor"), selector: ofTheChart},
	{kind: kind("monitoring.coreos.com/v1", "PrometheusRule"), selector: ofTheChart},
	{kind: kind("v1", "ConfigMap"), selector: ofTheChart},
	{kind: kind("rbac.authorization.k8s.io/v1", "RoleBinding"), selector: ofTheChart},
	{kind: kind("rbac.authorization.k8s.io/v1", "Role"), selector: ofTheChart},
	{kind: kind("v1", "ServiceAccount"), selector: ofTheChart},
	{kind: kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"), selector: ofTheChart, wide: true},
	{kind: kind("rbac.authorization.k8s.io/v1", "ClusterRole"), selector: ofTheChart, wide: true},
	// What bounds a permission goes after the permission.
	{kind: kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"), selector: ofTheChart, wide: true},
	{kind: kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"), selector: ofTheChart, wide: true},
	{kind: kind("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"), selector: ofTheChart, wide: true},
	{kind: kind("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"), selector: ofTheChart, wide: true},
	{kind: kind("scheduling.k8s.io/v1", "PriorityClass"), selector: ofTheChart, wide: true},
	{kind: kind("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"), selector: ofTheChart, wide: true},
}

// ofTheChart are the labels that no object has but those of the chart.
var ofTheChart = func() labels.Selector {
	selector, err := labels.Parse(v1alpha1.LabelName + "=" + v1alpha1.Name + ",helm.sh/chart")
	if err != nil {
		panic(err)
	}
	return selector
}()

// object is what a thing is deleted by: unstructured, since clients know the kinds of others in no other way.
func (t thing) object(namespace string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(t.kind)
	o.SetName(t.name)
	if !t.wide {
		o.SetNamespace(namespace)
	}
	return o
}
