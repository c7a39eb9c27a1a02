// Package privilege compares what roles grant with what the audit log of the API server says was asked for.
package privilege

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Access is one verb on one resource, as it is granted to a ServiceAccount or as that asked for it.
type Access struct {
	// Account is namespace/name of the ServiceAccount.
	Account string
	// Namespace of what is asked for; a grant without one holds in the whole cluster.
	Namespace string
	Verb      string
	Group     string
	// Resource has its subresource, if any: prepullimages/status.
	Resource string
	// Name of what is asked for; a grant without one holds for every name.
	Name string
}

// String is the access in words: account: update secrets "kube-prepull-ca" in namespace "infra".
func (a Access) String() string {
	text := a.Account + ": " + a.Verb + " " + a.Resource
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

// narrowest is the grant that a request is put down to: who may do something everywhere and in one namespace uses
// the latter there, so that a wide grant has to earn its width.
func narrowest(granted map[Access]bool, asked Access) (Access, bool) {
	for _, namespace := range []string{asked.Namespace, ""} {
		for _, name := range []string{asked.Name, ""} {
			grant := asked
			grant.Namespace, grant.Name = namespace, name
			if granted[grant] {
				return grant, true
			}
		}
	}
	return Access{}, false
}

// Compare returns the grants that no request needed, and the requests that no grant explains, both sorted.
func Compare(granted, asked []Access) (unused, unexplained []Access) {
	grants := map[Access]bool{}
	for _, grant := range granted {
		grants[grant] = true
	}
	left := maps.Clone(grants)
	for _, request := range asked {
		if grant, ok := narrowest(grants, request); ok {
			delete(left, grant)
		} else {
			unexplained = append(unexplained, request)
		}
	}
	return slices.SortedFunc(maps.Keys(left), compare), slices.SortedFunc(slices.Values(unexplained), compare)
}

func compare(a, b Access) int { return strings.Compare(a.String(), b.String()) }
