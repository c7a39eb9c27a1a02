package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/certs"
)

// permission is what the manager needs of one kind of resource, and no more than that.
type permission struct {
	group    string
	resource string // with its subresource, if any: prepullimages/status
	name     string // empty is any
	verbs    []string
}

// settings are the configuration's keys that permissions depend on.
type settings struct {
	pullSecrets       bool
	secretsAnywhere   bool // those that are read, not the copies
	rewritePullPolicy bool
	certificates      string
	metrics           bool // with authentication
	nodeCondition     bool
	gate              bool
}

func permissionsFor(c *v1alpha1.Configuration) settings {
	return settings{
		pullSecrets:       c.PullSecrets,
		secretsAnywhere:   c.PullSecrets && c.PullSecretRoles == v1alpha1.PullSecretRolesCluster,
		rewritePullPolicy: c.RewritePullPolicy,
		certificates:      c.Certificates,
		metrics:           c.MetricsAuthentication && c.MetricsAddress != v1alpha1.MetricsOff,
		nodeCondition:     c.NodeCondition,
		gate:              c.Gate.Enabled,
	}
}

// clusterPermissions hold in every namespace.
func clusterPermissions(s settings) []permission {
	permissions := []permission{
		{v1alpha1.GroupVersion.Group, "prepullimages", "", []string{"list", "watch", "create", "delete"}},
		{v1alpha1.GroupVersion.Group, "prepullimages/status", "", []string{"patch"}},
		{"", "namespaces", "", []string{"list", "watch"}},
		{"", "nodes", "", []string{"list", "watch"}},
		{"node.k8s.io", "runtimeclasses", "", []string{"list", "watch"}},
		{"", "pods", "", []string{"get", "list"}},
		{"apps", "deployments", "", []string{"get", "list"}},
		{"apps", "statefulsets", "", []string{"get", "list"}},
		{"apps", "daemonsets", "", []string{"get", "list"}},
		{"batch", "jobs", "", []string{"get", "list"}},
		{"batch", "cronjobs", "", []string{"get", "list"}},
		{"apps", "replicasets", "", []string{"list"}},
		{"apps", "controllerrevisions", "", []string{"list"}},
		{"", "events", "", []string{"list", "watch", "create"}},
		{"autoscaling", "horizontalpodautoscalers", "", []string{"list"}},
		{"", "serviceaccounts", "", []string{"get"}},
		{"admissionregistration.k8s.io", "mutatingwebhookconfigurations", certs.WebhookConfigurationName, []string{"list", "watch", "patch"}},
	}
	if s.secretsAnywhere {
		permissions = append(permissions, permission{"", "secrets", "", []string{"get"}})
	}
	if s.rewritePullPolicy {
		permissions = append(permissions, permission{"", "pods", "", []string{"create"}})
	}
	if s.metrics {
		permissions = append(permissions,
			permission{"authentication.k8s.io", "tokenreviews", "", []string{"create"}},
			permission{"authorization.k8s.io", "subjectaccessreviews", "", []string{"create"}},
		)
	}
	if s.nodeCondition {
		permissions = append(permissions, permission{"", "nodes/status", "", []string{"patch"}})
	}
	if s.gate {
		permissions = append(permissions, permission{"", "nodes", "", []string{"patch"}})
	}
	return permissions
}

// namespacePermissions hold in the manager's namespace. Without pull secrets it deletes the copies of an earlier time.
func namespacePermissions(s settings) []permission {
	copies := permission{"", "secrets", "", []string{"deletecollection"}}
	if s.pullSecrets {
		copies.verbs = []string{"list", "patch", "delete"}
	}
	permissions := certificatePermissions(s.certificates)
	// Creating cannot be limited to a name: it is for the copies and for the CA.
	if s.pullSecrets || s.certificates != v1alpha1.CertificatesDirectory {
		permissions = append(permissions, permission{"", "secrets", "", []string{"create"}})
	}
	return append(permissions, []permission{
		copies,
		{"apps", "daemonsets", "", []string{"list", "watch", "create", "update", "delete"}},
		{"", "pods", "", []string{"list", "watch", "patch", "delete"}},
		{"coordination.k8s.io", "leases", "", []string{"create"}},
		{"coordination.k8s.io", "leases", v1alpha1.Name, []string{"get", "update"}},
		{"", "events", "", []string{"list", "watch", "create"}},
	}...)
}

// certificatePermissions hold in the manager's namespace. Every replica serves what the leader decides, which may have
// other settings during a rollout.
func certificatePermissions(certificates string) []permission {
	if certificates == v1alpha1.CertificatesDirectory {
		return nil
	}
	permissions := []permission{
		{"", "secrets", certs.SecretName, []string{"list", "watch", "update"}},
		{"", "secrets", certs.ServingSecretName, []string{"list", "watch"}},
		{"", "configmaps", certs.TrustConfigMapName, []string{"list", "watch", "patch"}},
	}
	if certificates == v1alpha1.CertificatesSelfManaged {
		return permissions
	}
	return append(permissions,
		permission{"", "secrets", certs.IssuerSecretName, []string{"list", "watch"}},
		permission{"", "secrets", certs.TrustSecretName, []string{"list", "watch", "update"}},
		permission{"cert-manager.io", "issuers", "", []string{"list", "create", "patch"}},
		permission{"cert-manager.io", "certificates", "", []string{"list", "create", "patch"}},
		permission{"cert-manager.io", "certificates/status", "", []string{"patch"}},
	)
}

// checkPermissions asks the API server for every permission, and returns one error that names all that are missing.
func checkPermissions(ctx context.Context, c client.Client, namespace string, s settings) error {
	attributes := append(expand(clusterPermissions(s), ""), expand(namespacePermissions(s), namespace)...)
	var missing []string
	for _, a := range attributes {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &a}}
		if err := c.Create(ctx, review); err != nil {
			return fmt.Errorf("checking permissions: %w", err)
		}
		if !review.Status.Allowed {
			missing = append(missing, describe(a))
		}
	}
	if len(missing) > 0 {
		return errors.New("missing permissions: " + strings.Join(missing, "; "))
	}
	return nil
}

// expand makes one question of each verb.
func expand(permissions []permission, namespace string) []authorizationv1.ResourceAttributes {
	var attributes []authorizationv1.ResourceAttributes
	for _, p := range permissions {
		resource, subresource, _ := strings.Cut(p.resource, "/")
		for _, verb := range p.verbs {
			attributes = append(attributes, authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: p.group, Resource: resource, Subresource: subresource, Name: p.name,
			})
		}
	}
	return attributes
}

// describe says in words what is asked: update secrets "kube-prepull-ca" in namespace "infra".
func describe(a authorizationv1.ResourceAttributes) string {
	text := a.Verb + " " + a.Resource
	if a.Subresource != "" {
		text += "/" + a.Subresource
	}
	if a.Group != "" {
		text += "." + a.Group
	}
	if a.Name != "" {
		text += fmt.Sprintf(" %q", a.Name)
	}
	if a.Namespace != "" {
		text += fmt.Sprintf(" in namespace %q", a.Namespace)
	}
	return text
}
