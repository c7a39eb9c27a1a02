package privilege

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const manifest = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: manager}
rules:
  - {apiGroups: [apps], resources: [deployments, deployments/scale], verbs: [get]}
  - {apiGroups: [""], resources: [pods], verbs: [list]}
  - {nonResourceURLs: [/metrics], verbs: [get]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: manager}
data: {rules: none}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: any}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: manager}
subjects: [{kind: ServiceAccount, name: worker, namespace: infra}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: any, namespace: infra}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: manager}
subjects: [{kind: ServiceAccount, name: worker, namespace: infra}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: manager, namespace: infra}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [list]}
  - {apiGroups: [""], resources: [secrets], resourceNames: [ca], verbs: [list, update]}
  - {apiGroups: [""], resources: [secrets], verbs: [list, create]}
`

func TestRolesAreGrantedToTheAccountsOfTheirBindings(t *testing.T) {
	t.Parallel()
	want := []string{
		`infra/worker: create secrets in namespace "infra"`,
		`infra/worker: get deployments.apps`,
		`infra/worker: get deployments/scale.apps`,
		`infra/worker: list pods`,
		`infra/worker: list pods in namespace "infra"`,
		`infra/worker: list secrets "ca" in namespace "infra"`,
		`infra/worker: list secrets in namespace "infra"`,
		`infra/worker: update secrets "ca" in namespace "infra"`,
	}
	unused, _ := Compare(granted(t), nil)
	if diff := cmp.Diff(want, words(unused)); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestRolesThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ change, to, want string }{
		"a verb that is a wildcard":     {"verbs: [list]}", `verbs: ["*"]}`, "a rule has a wildcard"},
		"a resource that is a wildcard": {"resources: [pods]", `resources: ["*"]`, "a rule has a wildcard"},
		"a URL that is a wildcard":      {"nonResourceURLs: [/metrics]", `nonResourceURLs: ["/*"]`, "a rule has a wildcard"},
		"all of a URL":                  {"nonResourceURLs: [/metrics], verbs: [get]", `nonResourceURLs: [/metrics], verbs: ["*"]`, "a rule has a wildcard"},
		"a binding of no role":          {"kind: ClusterRole, name: manager", "kind: ClusterRole, name: other", "ClusterRoleBinding any grants nothing"},
		"what is no manifest":           {"kind: ConfigMap", "kind: {", "reading the manifest"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Granted(strings.NewReader(strings.Replace(manifest, tt.change, tt.to, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %q", err, tt.want)
			}
		})
	}
}

func TestARequestUsesTheNarrowestGrant(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		asked       Access
		used        string
		unexplained bool
	}{
		"in the whole cluster":                {Access{Verb: "list", Resource: "pods"}, `list pods`, false},
		"in another namespace":                {Access{Verb: "list", Resource: "pods", Namespace: "shop"}, `list pods`, false},
		"in the namespace of the role":        {Access{Verb: "list", Resource: "pods", Namespace: "infra"}, `list pods in namespace "infra"`, false},
		"by the name that is granted":         {Access{Verb: "list", Resource: "secrets", Name: "ca", Namespace: "infra"}, `list secrets "ca" in namespace "infra"`, false},
		"by another name":                     {Access{Verb: "list", Resource: "secrets", Name: "key", Namespace: "infra"}, `list secrets in namespace "infra"`, false},
		"of a subresource":                    {Access{Verb: "get", Group: "apps", Resource: "deployments/scale", Name: "web", Namespace: "shop"}, `get deployments/scale.apps`, false},
		"another verb":                        {Access{Verb: "watch", Resource: "pods"}, "", true},
		"another group":                       {Access{Verb: "list", Group: "metrics.k8s.io", Resource: "pods"}, "", true},
		"of another name, a named grant only": {Access{Verb: "update", Resource: "secrets", Name: "key", Namespace: "infra"}, "", true},
		"in another namespace, a role only":   {Access{Verb: "list", Resource: "secrets", Namespace: "shop"}, "", true},
		"by another account":                  {Access{Account: "infra/cleanup", Verb: "list", Resource: "pods"}, "", true},
	}
	all, _ := Compare(granted(t), nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.asked.Account == "" {
				tt.asked.Account = "infra/worker"
			}
			unused, unexplained := Compare(all, []Access{tt.asked})
			var used []string
			for _, grant := range words(all) {
				if !slices.Contains(words(unused), grant) {
					used = append(used, strings.TrimPrefix(grant, "infra/worker: "))
				}
			}
			if got := strings.Join(used, "; "); got != tt.used {
				t.Errorf("it uses %q, want %q", got, tt.used)
			}
			if (len(unexplained) > 0) != tt.unexplained {
				t.Errorf("no grant explains %v", unexplained)
			}
		})
	}
}

func TestTheLogTellsWhoAskedForWhat(t *testing.T) {
	t.Parallel()
	const worker = `"user":{"username":"system:serviceaccount:infra:worker"}`
	tests := map[string]struct{ line, want string }{
		"a verb on an object": {`{"verb":"get",` + worker + `,"objectRef":{"apiGroup":"apps","resource":"deployments","namespace":"shop","name":"web"}}`,
			`infra/worker: get deployments.apps "web" in namespace "shop"`},
		"a subresource": {`{"verb":"patch",` + worker + `,"objectRef":{"resource":"nodes","subresource":"status","name":"node-1"}}`,
			`infra/worker: patch nodes/status "node-1"`},
		"creating, where a name grants nothing": {`{"verb":"create",` + worker + `,"objectRef":{"resource":"secrets","namespace":"infra","name":"ca"}}`,
			`infra/worker: create secrets in namespace "infra"`},
		"creating a subresource, which has a name": {`{"verb":"create",` + worker + `,"objectRef":{"resource":"pods","subresource":"eviction","namespace":"shop","name":"web"}}`,
			`infra/worker: create pods/eviction "web" in namespace "shop"`},
		"refused by the roles": {`{"verb":"list",` + worker + `,"objectRef":{"resource":"secrets"},"responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"forbid"}}`,
			`refused infra/worker: list secrets`},
		"refused by an admission plugin": {`{"verb":"create",` + worker + `,"objectRef":{"resource":"events","namespace":"going"},"responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"allow"}}`,
			`infra/worker: create events in namespace "going"`},
		"applying what is not there": {`{"verb":"patch",` + worker + `,"objectRef":{"apiGroup":"cert-manager.io","resource":"issuers","namespace":"infra","name":"ca"},"responseStatus":{"code":201}}`,
			"infra/worker: patch issuers.cert-manager.io \"ca\" in namespace \"infra\"\ninfra/worker: create issuers.cert-manager.io in namespace \"infra\""},
		"applying what is there": {`{"verb":"patch",` + worker + `,"objectRef":{"apiGroup":"cert-manager.io","resource":"issuers","namespace":"infra","name":"ca"},"responseStatus":{"code":200}}`,
			`infra/worker: patch issuers.cert-manager.io "ca" in namespace "infra"`},
		"a person":                    {`{"verb":"list","user":{"username":"admin"},"objectRef":{"resource":"secrets"}}`, ""},
		"a URL":                       {`{"verb":"get",` + worker + `,"requestURI":"/version"}`, ""},
		"a line that is not finished": {`{"verb":"list",` + worker + `,"object`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := tt.line
			if strings.HasSuffix(log, "}") {
				log += "\n"
			}
			var got []string
			err := ReadLog(strings.NewReader(log), func(e Event) {
				text := e.String()
				if e.Refused {
					text = "refused " + text
				}
				got = append(got, text)
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("the event (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNoLogIsAnError(t *testing.T) {
	t.Parallel()
	if err := ReadLog(strings.NewReader("{}\nnonsense\n"), func(Event) {}); err == nil {
		t.Error("there is none")
	}
}

func granted(t *testing.T) []Access {
	t.Helper()
	all, err := Granted(strings.NewReader(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func words(accesses []Access) []string {
	var all []string
	for _, access := range accesses {
		all = append(all, access.String())
	}
	return all
}
