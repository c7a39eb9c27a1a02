package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestPrivateImagesArePinned with the credentials that their pods have, wherever these come from, and with no other ones.
func TestPrivateImagesArePinned(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]bool{"basic": false, "token": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := pinning{lab.NewPinning(t, "private-"+name, "latest")}
			n = n.at(lab.NewRegistry(t, n.Cluster, registry.Options{}))
			n.Registry.Private("*", registry.Auth{User: "clerk", Password: "planted-" + name, Token: token})
			pinsPrivateImages(t, n, "planted-"+name)
		})
	}
}

func pinsPrivateImages(t *testing.T, n pinning, password string) {
	t.Helper()
	digest := n.Versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	image, host := n.Image("app:latest"), n.Registry.Addr()
	n.loginSecret(t, "good", corev1.SecretTypeDockerConfigJson, host, password)
	n.loginSecret(t, "wrong", corev1.SecretTypeDockerConfigJson, host, "not-"+password)
	n.loginSecret(t, "elsewhere", corev1.SecretTypeDockerConfigJson, "registry.invalid", "other-"+password)
	n.loginSecret(t, "url", corev1.SecretTypeDockerConfigJson, "https://"+host+"/v1/", password)
	n.loginSecret(t, "path", corev1.SecretTypeDockerConfigJson, host+"/"+n.Name, password)
	n.loginSecret(t, "old", corev1.SecretTypeDockercfg, host, password)
	n.AccountWithSecret(t, n.Name, "runner", "good")

	for name, secrets := range map[string][]string{
		"one": {"good"}, "second-matches": {"elsewhere", "good"}, "second-is-right": {"wrong", "good"}, "first-is-missing": {"missing", "good"},
		"by-url": {"url"}, "by-path": {"path"}, "by-old-secret": {"old"},
	} {
		n.AdmitNew(t, withSecrets(lab.Deployment(name, image, 0), secrets...)).WantPins(t, appPin(image, digest))
	}
	d := lab.Deployment("of-account", image, 1)
	d.Spec.Template.Spec.ServiceAccountName = "runner"
	n.AdmitNew(t, d).WantPins(t, appPin(image, digest))
	n.waitPods(t, "of-account", 1, n.digested("app", digest))
	bare := lab.PodOn("", "bare", image)
	bare.Spec.ServiceAccountName = "runner"
	if got := n.tryPod(t, bare).Spec.Containers[0].Image; got != n.digested("app", digest) {
		t.Errorf("a bare pod has the image %s", got)
	}

	for name, secrets := range map[string][]string{"none": nil, "wrong": {"wrong"}, "elsewhere": {"elsewhere"}, "missing": {"missing"}} {
		a := n.AdmitNew(t, withSecrets(lab.Deployment("not-"+name, image, 0), secrets...))
		a.WantPins(t, nil)
		a.WantWarning(t, "container app ", image, "answers 401 Unauthorized")
	}
	// Who makes the Secret then restarts the Deployment, and need not wait.
	n.loginSecret(t, "missing", corev1.SecretTypeDockerConfigJson, host, password)
	n.waitObserved(t, "not-missing")
	n.admitRestart(t, "not-missing").WantPins(t, appPin(image, digest))
	// The answer to the same question is still remembered, and is that of the others.
	other := pinning{lab.NewPinning(t, n.Name+"-keyless", "latest")}.at(n.Registry)
	n.AdmitNew(t, withSecrets(lab.Deployment("once-more", image, 0), "good")).WantPins(t, appPin(image, digest))
	a := other.AdmitNew(t, withSecrets(lab.Deployment("app", image, 0), "good"))
	a.WantPins(t, nil)
	a.WantWarning(t, "container app ", image, "answers 401 Unauthorized")
	n.NeverTold(t, password, "not-"+password)
}

// TestARegistryThatNamesNoDigests is asked for the manifest itself.
func TestARegistryThatNamesNoDigests(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "nameless", "latest")}
	digest := n.Versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	front := serveFront(t, n, func(proxy *httputil.ReverseProxy) http.Handler {
		proxy.ModifyResponse = func(r *http.Response) error {
			r.Header.Del("Docker-Content-Digest")
			return nil
		}
		return proxy
	})
	image := front + "/" + n.Name + "/app:latest"
	n.AdmitNew(t, lab.Deployment("app", image, 0)).WantPins(t, appPin(image, digest))
}

// TestATokenServerThatHangs holds nobody up either.
func TestATokenServerThatHangs(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "tokens", "latest")}
	n = n.at(lab.NewRegistry(t, n.Cluster, registry.Options{}))
	n.Registry.Private("*", registry.Auth{User: "clerk", Password: "planted-tokens", Token: true})
	n.Versions(t, "app", 1)
	n.point(t, "app", "latest", "v1")
	var works atomic.Bool
	front := serveFront(t, n, func(proxy *httputil.ReverseProxy) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" && !works.Load() {
				<-r.Context().Done()
				return
			}
			proxy.ServeHTTP(w, r)
		})
	})
	n.loginSecret(t, "key", corev1.SecretTypeDockerConfigJson, front, "planted-tokens")
	image := front + "/" + n.Name + "/app:latest"
	a := n.AdmitNew(t, withSecrets(lab.Deployment("app", image, 0), "key"))
	a.WantPins(t, nil)
	a.WantWarning(t, "container app ", image, "does not answer in time")
	works.Store(true)
	n.kubectl(t, "scale", "--replicas=1", "deployment/app")
	n.waitPods(t, "app", 1, image)
}

// serveFront serves the registry of a namespace under another address, and returns that. What goes through can be changed.
func serveFront(t *testing.T, n pinning, change func(*httputil.ReverseProxy) http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", n.HostIP()+":0")
	if err != nil {
		t.Fatal(err)
	}
	back := &url.URL{Scheme: "http", Host: n.Registry.Addr()}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: change(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(back)
		r.Out.Host = r.In.Host // the token server is where the client asks
	}})}
	go server.Serve(listener)            //nolint:errcheck // ends with the error of Close
	t.Cleanup(func() { server.Close() }) //nolint:errcheck // the end of the test
	if err := n.TrustRegistry(listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

func withSecrets(d *appsv1.Deployment, names ...string) *appsv1.Deployment {
	for _, name := range names {
		d.Spec.Template.Spec.ImagePullSecrets = append(d.Spec.Template.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return d
}

// loginSecret makes a pull secret of one entry under a key of a test's choice. The user is clerk.
func (n pinning) loginSecret(t *testing.T, name string, kind corev1.SecretType, key, password string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte("clerk:" + password))
	field, content := corev1.DockerConfigKey, fmt.Sprintf(`{%q: {"auth": %q}}`, key, auth)
	if kind == corev1.SecretTypeDockerConfigJson {
		field, content = corev1.DockerConfigJsonKey, `{"auths": `+content+`}`
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Data: map[string][]byte{field: []byte(content)}}
	if _, err := n.Client().CoreV1().Secrets(n.Name).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
