package cli

import (
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// notInstalled is what to do where the kind PrepullImage is missing.
const notInstalled = "kube-prepull is not installed in this cluster: it has no kind PrepullImage. " +
	"Install it: helm install kube-prepull deploy/chart --namespace kube-prepull (crds.enabled brings the kind); --context names another cluster"

// Sentence is an error for people. It adds what to do about it, where that is known.
func Sentence(err error) string {
	text := strings.TrimSpace(err.Error())
	var noName *net.DNSError
	var late net.Error
	switch {
	case NoKind(err):
		return notInstalled
	case apierrors.IsForbidden(err):
		return text + allowedBy(text)
	case apierrors.IsUnauthorized(err):
		return text + ": the credentials of the kubeconfig are not accepted; kubectl auth whoami shows whose they are"
	case noContext.MatchString(text):
		return text + ": kubectl config get-contexts lists those that there are"
	case utilnet.IsConnectionRefused(err) && strings.Contains(text, "://localhost:8080/"):
		return text + ": is there a kubeconfig? Without one this is the address; --kubeconfig or KUBECONFIG names it"
	case utilnet.IsConnectionRefused(err):
		return text + ": is the cluster of the current context running?"
	case errors.As(err, &noName):
		return text + ": is the server of the current context right? kubectl config view --minify shows it"
	case errors.As(err, &late) && late.Timeout():
		return text + ": can the cluster of the current context be reached from here?"
	}
	return text
}

// noContext is how client-go says that a kubeconfig has no context of a name (tools/clientcmd/client_config.go).
var noContext = regexp.MustCompile(`context "[^"]*" does not exist$`)

// NoKind tells whether an error says that the cluster has no kind PrepullImage, or has it no longer.
func NoKind(err error) bool {
	var noKind *meta.NoKindMatchError
	if errors.As(err, &noKind) {
		return noKind.GroupKind.Group == v1alpha1.GroupVersion.Group
	}
	var noResource *meta.NoResourceMatchError // where a server has nothing of the group
	if errors.As(err, &noResource) {
		return noResource.PartialResource.Group == v1alpha1.GroupVersion.Group
	}
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Group == v1alpha1.GroupVersion.Group && d.Name == ""
}

// cannot is how the API server's authorizers say what somebody may not do (responsewriters/errors.go in k8s.io/apiserver). A policy
// or a webhook that forbids something says it in its own words.
var cannot = regexp.MustCompile(`cannot (\w+) resource "([a-z]+)"`)

// What the roles of the chart allow.
var (
	reads  = []string{"get", "list", "watch"}
	viewed = []string{
		"configmaps", "daemonsets", "deployments", "events", "jobs", "namespaces", "nodes", "pods", "prepullimages", "replicasets", "runtimeclasses",
	}
	waits = []string{"create", "delete"}
)

// allowedBy names the role of the chart that allows what was forbidden, and how to get it.
func allowedBy(text string) string {
	found := cannot.FindStringSubmatch(text)
	switch {
	case found == nil:
		return ""
	case slices.Contains(reads, found[1]) && slices.Contains(viewed, found[2]):
		return ": the ClusterRole kube-prepull-view allows it, an administrator binds it"
	case slices.Contains(waits, found[1]) && found[2] == "prepullimages":
		return ": the ClusterRole kube-prepull-wait allows it (wait.enabled of the chart), an administrator binds it"
	}
	return ": no role of the chart allows it, it is for administrators"
}
