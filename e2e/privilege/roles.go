package privilege

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// object is of any kind of the RBAC API, or of another.
type object struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Rules    []rbacv1.PolicyRule `json:"rules"`
	RoleRef  rbacv1.RoleRef      `json:"roleRef"`
	Subjects []rbacv1.Subject    `json:"subjects"`
}

// Granted is what the roles and bindings of a manifest grant to ServiceAccounts, each once.
func Granted(manifest io.Reader) ([]Access, error) {
	rules, bindings := map[rbacv1.RoleRef][]rbacv1.PolicyRule{}, []object{}
	decoder := yaml.NewYAMLOrJSONDecoder(manifest, 4096)
	for {
		var o object
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading the manifest: %w", err)
		}
		switch o.Kind {
		case "Role", "ClusterRole":
			rules[rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: o.Kind, Name: o.Name}] = o.Rules
		case "RoleBinding", "ClusterRoleBinding":
			bindings = append(bindings, o)
		}
	}
	var granted []Access
	for _, binding := range bindings {
		expanded, err := Expand(rules[binding.RoleRef])
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", binding.RoleRef.Kind, binding.RoleRef.Name, err)
		}
		if len(expanded) == 0 {
			return nil, fmt.Errorf("%s %s grants nothing", binding.Kind, binding.Name)
		}
		for _, subject := range binding.Subjects {
			for _, access := range expanded {
				access.Account, access.Namespace = subject.Namespace+"/"+subject.Name, binding.Namespace
				granted = append(granted, access)
			}
		}
	}
	return granted, nil
}

// Expand makes one grant of each verb, resource and name of rules. There must be no wildcard in them. What they grant on URLs is
// left out: it may be a server's other than the API server, and then no log tells who uses it.
func Expand(rules []rbacv1.PolicyRule) ([]Access, error) {
	var all []Access
	for _, rule := range rules {
		for _, url := range rule.NonResourceURLs {
			if strings.Contains(url, rbacv1.NonResourceAll) || slices.Contains(rule.Verbs, rbacv1.VerbAll) {
				return nil, fmt.Errorf("a rule has a wildcard: %v %s", rule.Verbs, url)
			}
		}
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range names {
					for _, verb := range rule.Verbs {
						if group == rbacv1.APIGroupAll || resource == rbacv1.ResourceAll || verb == rbacv1.VerbAll {
							return nil, fmt.Errorf("a rule has a wildcard: %s %s of group %q", verb, resource, group)
						}
						all = append(all, Access{Verb: verb, Group: group, Resource: resource, Name: name})
					}
				}
			}
		}
	}
	return all, nil
}
