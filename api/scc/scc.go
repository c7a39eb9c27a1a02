// Package scc knows where OpenShift's SecurityContextConstraints give pods their users.
package scc

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind of the constraints. The one that holds for everybody, restricted-v2, gives each namespace a range of users and refuses
// pods that name another one.
var kind = schema.GroupKind{Group: "security.openshift.io", Kind: "SecurityContextConstraints"}

// AssignUsers tells whether a cluster gives pods their users, so that pods of our own must not name any. A cluster that
// does not say is an error.
func AssignUsers(served meta.RESTMapper) (bool, error) {
	_, err := served.RESTMapping(kind)
	switch {
	case meta.IsNoMatchError(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for SecurityContextConstraints: %w", err)
	}
	return true, nil
}
