package certs

import (
	"strings"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagermeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
)

func TestWhatCertManagerIsGivenIsAppliedWhereItDiffers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(objects []client.Object)
		want   string
	}{
		"all is stored": {func([]client.Object) {}, ""},
		"with what cert-manager adds": {func(o []client.Object) {
			o[1].(*certmanagerv1.Certificate).Spec.RevisionHistoryLimit = new(int32)
			o[1].SetLabels(map[string]string{"a": "b", "app.kubernetes.io/name": "kube-prepull", "app.kubernetes.io/component": "webhook"})
			o[0].(*certmanagerv1.Issuer).Status.Conditions = []certmanagerv1.IssuerCondition{{}}
		}, ""},
		"one lost its labels":      {func(o []client.Object) { o[0].SetLabels(nil) }, "kube-prepull-self-signed"},
		"one has another name":     {func(o []client.Object) { o[1].SetName("x") }, "kube-prepull-issuer"},
		"another kind of issuer":   {func(o []client.Object) { o[2].(*certmanagerv1.Issuer).Spec.CA = nil }, "kube-prepull-issuer"},
		"another lifetime":         {func(o []client.Object) { o[3].(*certmanagerv1.Certificate).Spec.Duration.Duration = time.Hour }, "kube-prepull-serving"},
		"other names":              {func(o []client.Object) { o[3].(*certmanagerv1.Certificate).Spec.DNSNames = []string{"y"} }, "kube-prepull-serving"},
		"a key that changes":       {func(o []client.Object) { o[1].(*certmanagerv1.Certificate).Spec.PrivateKey.RotationPolicy = "Always" }, "kube-prepull-issuer"},
		"an issuer of that name":   {func(o []client.Object) { o[3] = o[0]; o[3].SetName("kube-prepull-serving") }, "kube-prepull-self-signed kube-prepull-serving"},
		"a CA that is none at all": {func(o []client.Object) { o[1].(*certmanagerv1.Certificate).Spec.IsCA = false }, "kube-prepull-issuer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stored := certManagerObjects("infra", []string{"x"})
			test.change(stored)
			var got []string
			for _, want := range certManagerObjects("infra", []string{"x"}) {
				found := false
				for _, o := range stored {
					found = found || covers(o, want)
				}
				if !found {
					got = append(got, want.GetName())
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("applied are %v, want %q", got, test.want)
			}
		})
	}
}

func TestItSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	ready := func(n int) []client.Object {
		objects := certManagerObjects("infra", []string{"x"})
		for _, o := range objects[:n] {
			switch o := o.(type) {
			case *certmanagerv1.Issuer:
				o.Status.Conditions = []certmanagerv1.IssuerCondition{{Type: certmanagerv1.IssuerConditionReady, Status: certmanagermeta.ConditionTrue}}
			case *certmanagerv1.Certificate:
				o.Status.Conditions = []certmanagerv1.CertificateCondition{{Type: certmanagerv1.CertificateConditionReady, Status: certmanagermeta.ConditionTrue}}
			}
		}
		return objects
	}
	says := ready(3)
	says[3].(*certmanagerv1.Certificate).Status.Conditions = []certmanagerv1.CertificateCondition{{
		Type: certmanagerv1.CertificateConditionReady, Status: certmanagermeta.ConditionFalse, Message: "Issuing certificate as Secret does not exist",
	}}
	tests := map[string]struct {
		stored []client.Object
		want   string
	}{
		"nothing is there":               {nil, "Issuer kube-prepull-self-signed: cert-manager says nothing about it"},
		"cert-manager does nothing":      {ready(0), "Issuer kube-prepull-self-signed: cert-manager says nothing about it"},
		"the CA is to come":              {ready(1), "Certificate kube-prepull-issuer: cert-manager says nothing about it"},
		"the CA's issuer is to come":     {ready(2), "Issuer kube-prepull-issuer: cert-manager says nothing about it"},
		"the serving certificate is not": {says, "Certificate kube-prepull-serving: Issuing certificate as Secret does not exist"},
		"all is ready":                   {ready(4), ""},
	}
	for name, test := range tests {
		if got := notReady(test.stored); got != test.want {
			t.Errorf("%s: it waits for %q, want %q", name, got, test.want)
		}
	}
}

// The package that uninstalls knows the objects by their names alone.
func TestAllThatIsMadeIsUninstalled(t *testing.T) {
	t.Parallel()
	made := certManagerObjects("infra", nil)
	for _, name := range []string{SecretName, ServingSecretName, IssuerSecretName, TrustSecretName} {
		made = append(made, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: name}})
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(made...).Build()
	if err := uninstall.Run(t.Context(), c, uninstall.Options{Namespace: "infra", Tell: func(string) {}}); err != nil {
		t.Fatal(err)
	}
	for _, o := range made {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
			t.Errorf("%T %s is left (%v)", o, o.GetName(), err)
		}
	}
}
