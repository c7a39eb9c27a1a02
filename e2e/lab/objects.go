package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// Zero is a quantity of nothing.
func Zero() *resource.Quantity { return resource.NewQuantity(0, resource.DecimalSI) }

// NewRegistry serves a registry that the nodes of a cluster pull from.
func NewRegistry(t *testing.T, c *cluster.Cluster, o registry.Options) *registry.Registry {
	t.Helper()
	r, err := Serve(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() }) //nolint:errcheck // the end of the test
	return r
}

// push makes an image of a Go command below cmd and returns its reference.
func push(t *testing.T, r *registry.Registry, command, name string, image images.Image) string {
	t.Helper()
	binary, err := built.command("e2e/cmd/" + command)
	if err != nil {
		t.Fatal(err)
	}
	image.Binaries = map[string]string{"/" + command: binary}
	image.Entrypoint = []string{"/" + command}
	reference := r.Addr() + "/" + name
	if _, err := image.Push(t.Context(), reference, remote.WithTransport(r.Transport())); err != nil {
		t.Fatal(err)
	}
	return reference
}

// PushSleeper makes an image that waits, and returns its reference.
func PushSleeper(t *testing.T, r *registry.Registry, name string, image images.Image) string {
	t.Helper()
	return push(t, r, "sleeper", name, image)
}

// PodOn is a pod in namespace default, on a node if one is named, that ends at once when it is told to.
func PodOn(node, name, image string) *corev1.Pod {
	var now int64
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: &now,
			Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
	}
}

// DaemonSet is one of an image.
func DaemonSet(name, image string) *appsv1.DaemonSet {
	labels := map[string]string{"app": name}
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: PodOn("", name, image).Spec},
		},
	}
}

// StartPod creates a pod.
func StartPod(t *testing.T, c *cluster.Cluster, pod *corev1.Pod) {
	t.Helper()
	if _, err := c.Client().CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// WaitPod returns the pod once it is as wanted.
func WaitPod(t *testing.T, c *cluster.Cluster, name string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	Eventually(t, "pod "+name, func() (err error) {
		pod, err = c.Client().CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && !wanted(pod) {
			err = fmt.Errorf("it is %s: %v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return err
	})
	return pod
}

// PodRunning is true of a pod that runs and is ready.
func PodRunning(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].Ready
}

// PodSucceeded is true of a pod that has ended well.
func PodSucceeded(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded }

// WaitingReason is why a container of a pod waits, empty if none does.
func WaitingReason(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil {
			return s.State.Waiting.Reason
		}
	}
	return ""
}

// GetNode reads a node.
func GetNode(t *testing.T, c *cluster.Cluster, name string) *corev1.Node {
	t.Helper()
	node, err := c.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// StartService makes a Service of the pods labelled app=<name>.
func StartService(t *testing.T, c *cluster.Cluster, name string, port int32, target int) {
	t.Helper()
	_, err := c.Client().CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Port: port, TargetPort: intstr.FromInt(target)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// InstallDenier runs a webhook in a pod behind a Service, and sends it the ConfigMaps of the default namespace.
func InstallDenier(t *testing.T, c *cluster.Cluster, r *registry.Registry) {
	t.Helper()
	certificate, key := SelfSigned(t, "denier.default.svc")
	pod := PodOn("node-2", "denier", push(t, r, "denier", "test/denier:v1", images.Image{}))
	pod.Labels = map[string]string{"app": "denier"}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "TLS_CERT", Value: certificate}, {Name: "TLS_KEY", Value: key}, {Name: "DENY", Value: "denied in a pod"}}
	StartPod(t, c, pod)
	StartService(t, c, "denier", 443, 8443)
	WaitPod(t, c, "denier", PodRunning)
	fail, none := admissionv1.Fail, admissionv1.SideEffectClassNone
	_, err := c.Client().AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "denier"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "denier.kube-prepull.io", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionv1.WebhookClientConfig{CABundle: []byte(certificate), Service: &admissionv1.ServiceReference{Namespace: "default", Name: "denier"}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "default"}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// SelfSigned is a server certificate for a name or an address that is its own authority, as PEM.
func SelfSigned(t *testing.T, host string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	if address := net.ParseIP(host); address != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{address}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return EncodePEM("CERTIFICATE", der), EncodePEM("EC PRIVATE KEY", keyDER)
}

// EncodePEM is a block of PEM.
func EncodePEM(kind string, der []byte) string {
	var out bytes.Buffer
	pem.Encode(&out, &pem.Block{Type: kind, Bytes: der}) //nolint:errcheck // a buffer
	return out.String()
}
