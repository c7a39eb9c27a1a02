package scc_test

import (
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kube-prepull/kube-prepull/api/scc"
)

// unreachable is a cluster that does not answer.
type unreachable struct{ meta.RESTMapper }

func (unreachable) RESTMapping(schema.GroupKind, ...string) (*meta.RESTMapping, error) {
	return nil, errors.New("no answer")
}

func TestAssignUsers(t *testing.T) {
	version := schema.GroupVersion{Group: "security.openshift.io", Version: "v1"}
	openShift := meta.NewDefaultRESTMapper([]schema.GroupVersion{version})
	openShift.Add(version.WithKind("SecurityContextConstraints"), meta.RESTScopeRoot)
	for name, c := range map[string]struct {
		served   meta.RESTMapper
		want, ok bool
	}{
		"OpenShift":        {openShift, true, true},
		"another one":      {meta.NewDefaultRESTMapper(nil), false, true},
		"one that is away": {unreachable{}, false, false},
	} {
		if got, err := scc.AssignUsers(c.served); got != c.want || (err == nil) != c.ok {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}
