package certs

import (
	"reflect"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagermeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// What cert-manager is given, in the manager's namespace. A Certificate and its Secret have the same name.
const (
	// selfSignedIssuer signs the CA.
	selfSignedIssuer = v1alpha1.Name + "-self-signed"

	// IssuerSecretName is the CA.
	IssuerSecretName = v1alpha1.Name + "-issuer"

	// caIssuer signs with the CA.
	caIssuer = v1alpha1.Name + "-issuer"

	// ServingSecretName is what the replicas serve.
	ServingSecretName = v1alpha1.Name + "-serving"
)

// certManagerObjects are all of them, in the order in which they depend on each other. A renewed CA keeps its key: what
// it signed before is trusted as well.
func certManagerObjects(namespace string, names []string) []client.Object {
	ca := certificateFor(namespace, IssuerSecretName, selfSignedIssuer, caLifetime)
	ca.Spec.CommonName = IssuerSecretName
	ca.Spec.IsCA = true
	ca.Spec.PrivateKey.RotationPolicy = certmanagerv1.RotationPolicyNever
	ca.Spec.Usages = []certmanagerv1.KeyUsage{certmanagerv1.UsageCertSign}
	serving := certificateFor(namespace, ServingSecretName, caIssuer, leafLifetime)
	serving.Spec.DNSNames = names
	serving.Spec.PrivateKey.RotationPolicy = certmanagerv1.RotationPolicyAlways
	serving.Spec.Usages = []certmanagerv1.KeyUsage{certmanagerv1.UsageDigitalSignature, certmanagerv1.UsageServerAuth}
	return []client.Object{
		issuerFor(namespace, selfSignedIssuer, certmanagerv1.IssuerConfig{SelfSigned: &certmanagerv1.SelfSignedIssuer{}}),
		ca,
		issuerFor(namespace, caIssuer, certmanagerv1.IssuerConfig{CA: &certmanagerv1.CAIssuer{SecretName: IssuerSecretName}}),
		serving,
	}
}

func issuerFor(namespace, name string, config certmanagerv1.IssuerConfig) *certmanagerv1.Issuer {
	return &certmanagerv1.Issuer{
		TypeMeta:   metav1.TypeMeta{APIVersion: certmanagerv1.SchemeGroupVersion.String(), Kind: certmanagerv1.IssuerKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels()},
		Spec:       certmanagerv1.IssuerSpec{IssuerConfig: config},
	}
}

// certificateFor is a Certificate that is renewed after two thirds of its life.
func certificateFor(namespace, name, issuer string, lifetime time.Duration) *certmanagerv1.Certificate {
	return &certmanagerv1.Certificate{
		TypeMeta:   metav1.TypeMeta{APIVersion: certmanagerv1.SchemeGroupVersion.String(), Kind: certmanagerv1.CertificateKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels()},
		Spec: certmanagerv1.CertificateSpec{
			SecretName:     name,
			SecretTemplate: &certmanagerv1.CertificateSecretTemplate{Labels: labels()},
			Duration:       &metav1.Duration{Duration: lifetime},
			RenewBefore:    &metav1.Duration{Duration: lifetime / 3},
			IssuerRef:      certmanagermeta.IssuerReference{Group: certmanagerv1.SchemeGroupVersion.Group, Kind: certmanagerv1.IssuerKind, Name: issuer},
			PrivateKey:     &certmanagerv1.CertificatePrivateKey{Algorithm: certmanagerv1.ECDSAKeyAlgorithm, Size: 256},
		},
	}
}

// notReady is the first object that cert-manager has not finished, and what it says about it; empty if there is none.
func notReady(stored []client.Object) string {
	for _, want := range certManagerObjects("", nil) {
		says := "cert-manager says nothing about it"
		ready := false
		for _, o := range stored {
			if o.GetName() == want.GetName() && reflect.TypeOf(o) == reflect.TypeOf(want) {
				ready, says = readiness(o, says)
			}
		}
		if !ready {
			return want.GetObjectKind().GroupVersionKind().Kind + " " + want.GetName() + ": " + says
		}
	}
	return ""
}

// readiness is the Ready condition of an Issuer or a Certificate, with other words if it has none.
func readiness(o client.Object, says string) (ready bool, message string) {
	switch o := o.(type) {
	case *certmanagerv1.Issuer:
		for _, c := range o.Status.Conditions {
			if c.Type == certmanagerv1.IssuerConditionReady {
				return c.Status == certmanagermeta.ConditionTrue, c.Message
			}
		}
	case *certmanagerv1.Certificate:
		for _, c := range o.Status.Conditions {
			if c.Type == certmanagerv1.CertificateConditionReady {
				return c.Status == certmanagermeta.ConditionTrue, c.Message
			}
		}
	}
	return false, says
}
