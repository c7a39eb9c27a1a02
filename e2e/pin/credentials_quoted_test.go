package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestARegistryThatQuotesCredentials answers with what it was told in headers and bodies, and with links that open what they
// point to, to kubelets and managers. The managers tell nobody. A kubelet does, in the status and the Events of its pods.
func TestARegistryThatQuotesCredentials(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	for name, repositories := range map[string][]string{"basic": {"tag", "manifest"}, "token": {"blob", "link"}} {
		t.Run(name, func(t *testing.T) {
			password := "pl4nted/p+ss=w0rd-" + name
			p.Namespace(t, name, true)
			n := pinning{&lab.Pinning{Product: p.Product, Name: name}}
			n.relabel(t, "latest")
			n = n.at(lab.NewRegistry(t, n.Cluster, registry.Options{}))
			n.Registry.Private("*", registry.Auth{User: "clerk", Password: password, Token: name == "token"})
			quoter := &quoter{}
			front := serveFront(t, n, quoter.wrap)
			n.loginSecret(t, "key", corev1.SecretTypeDockerConfigJson, front, password)
			n.loginSecret(t, "wrong", corev1.SecretTypeDockerConfigJson, front, "not-"+password)
			n.AccountWithSecret(t, name, "runner", "key")
			image := func(repository string) string { return front + "/" + name + "/" + repository }

			for _, repository := range append([]string{"good"}, repositories...) {
				n.Versions(t, repository, 1)
				n.point(t, repository, "latest", "v1")
				d := withSecrets(lab.Deployment(repository, image(repository+":latest"), 0), "key")
				if repository == "link" {
					d.Spec.Template.Spec.ImagePullSecrets, d.Spec.Template.Spec.ServiceAccountName = nil, "runner"
				}
				n.AdmitNew(t, d)
			}
			n.AdmitNew(t, withSecrets(lab.Deployment("wrong", image("good:latest"), 0), "wrong"))
			for _, repository := range repositories {
				product{n.Product}.waitPullFailed(t, image(repository))
			}
			told := n.Told(t)
			maps.DeleteFunc(told, func(where, _ string) bool { return strings.HasPrefix(where, "kubelets' ") })
			lab.NeverIn(t, told, append(quoter.told(), password, "not-"+password)...)
		})
	}
}

// quoter is a registry that says what it was told, where it is asked for what a repository is named after: a tag, a manifest,
// a blob or a link to one.
type quoter struct {
	mu   sync.Mutex
	seen []string
}

// signature is in a link that is good for whoever has it.
const signature = "pl4nted-s1gnature"

func (q *quoter) wrap(proxy *httputil.ReverseProxy) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get("Authorization")
		_, credential, _ := strings.Cut(header, " ")
		if credential != "" {
			q.mu.Lock()
			q.seen = append(q.seen, credential)
			q.mu.Unlock()
		}
		_, password, _ := r.BasicAuth()
		quote := strings.Join([]string{header, credential, password}, " and ")
		manifest, blob := strings.Contains(r.URL.Path, "/manifests/"), strings.Contains(r.URL.Path, "/blobs/")
		shown := func(repository string) bool {
			return credential != "" && strings.Contains(r.URL.Path, "/"+repository+"/")
		}
		switch {
		case shown("tag") && manifest, shown("manifest") && manifest && r.Method == http.MethodGet, shown("blob") && blob, strings.HasPrefix(r.URL.Path, "/link"):
			for _, key := range []string{"WWW-Authenticate", "Warning", "X-Reason", "Content-Type"} {
				w.Header().Set(key, quote)
			}
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": "DENIED", "message": "you said " + quote}}})
		case shown("link") && blob:
			http.Redirect(w, r, "http://clerk:"+signature+"@"+r.Host+"/link?signature="+signature, http.StatusTemporaryRedirect)
		default:
			proxy.ServeHTTP(w, r)
		}
	})
}

// told are the tokens and the like that clients showed, and what it gave out.
func (q *quoter) told() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	slices.Sort(q.seen)
	return append(slices.Compact(q.seen), signature)
}

// waitPullFailed waits for a failure of an image of a repository, whatever its tag or digest.
func (p product) waitPullFailed(t *testing.T, repository string) {
	t.Helper()
	lab.Eventually(t, repository+" to fail", func() error {
		list, err := p.Images.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var others []string
		for _, o := range list.Items {
			others = append(others, lab.Field(&o, "spec", "image")+" is "+lab.Field(&o, "status", "state"))
			if strings.HasPrefix(lab.Field(&o, "spec", "image"), repository) && strings.HasPrefix(lab.Field(&o, "status", "state"), "PullFailed") {
				_, _, message := lab.Condition(&o, "PullFailed")
				t.Logf("%s says: %s", lab.Field(&o, "spec", "image"), message)
				return nil
			}
		}
		return fmt.Errorf("it does not; %v", others)
	})
}
