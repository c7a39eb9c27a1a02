package certs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagermeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kube-prepull/kube-prepull/api/clock"
)

// served is an API server that serves some resources of cert-manager's API, or fails.
type served struct {
	discovery.ServerResourcesInterfaceWithContext
	resources string
	err       error
	asked     int
}

func (s *served) ServerResourcesForGroupVersionWithContext(context.Context, string) (*metav1.APIResourceList, error) {
	s.asked++
	list := &metav1.APIResourceList{}
	for _, name := range strings.Fields(s.resources) {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: name})
	}
	return list, s.err
}

var workTime = clock.Production().CertManagerWork

// newCertManager is one whose API server holds objects.
func newCertManager(t *testing.T, api *served, objects ...client.Object) *certManager {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&certmanagerv1.Certificate{}).Build()
	return &certManager{client: c, live: c, api: api, namespace: "infra", names: []string{"x"}, pace: workTime}
}

func TestWhetherCertManagerIsThere(t *testing.T) {
	t.Parallel()
	notFound := apierrors.NewNotFound(schema.GroupResource{}, "")
	tests := map[string]struct {
		api  served
		was  bool
		want bool
	}{
		"it is":                             {served{resources: "issuers certificates"}, false, true},
		"it is not":                         {served{err: notFound}, false, false},
		"it is no longer":                   {served{err: notFound}, true, false},
		"a kind is missing":                 {served{resources: "issuers"}, true, false},
		"nobody knows, and it was":          {served{err: errors.New("timeout")}, true, true},
		"nobody knows, and it was not":      {served{err: errors.New("timeout")}, false, false},
		"it is, but may not be asked again": {served{resources: "certificates issuers"}, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newCertManager(t, &test.api)
			if got := m.maintain(t.Context(), upkeep{inUse: test.was}, epoch); got != test.want {
				t.Errorf("it is there: %v, want %v", got, test.want)
			}
			if got := m.maintain(t.Context(), upkeep{inUse: !test.was}, epoch.Add(time.Second)); got != test.want || test.api.asked != 1 {
				t.Errorf("a second later it is there: %v, asked %d times", got, test.api.asked)
			}
			if m.maintain(t.Context(), upkeep{inUse: test.was}, epoch.Add(workTime)); test.api.asked != 2 {
				t.Errorf("later it was asked %d times", test.api.asked)
			}
		})
	}
}

func TestCertManagerGetsItsObjectsOnce(t *testing.T) {
	t.Parallel()
	m := newCertManager(t, &served{resources: "issuers certificates"})
	versions := func() (versions string) {
		stored, err := m.stored(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range stored {
			versions += o.GetName() + "@" + o.GetResourceVersion() + " "
		}
		return versions
	}
	m.maintain(t.Context(), upkeep{}, epoch)
	first := versions()
	if got := len(strings.Fields(first)); got != 4 {
		t.Fatalf("there are %s", first)
	}
	if m.maintain(t.Context(), upkeep{inUse: true}, epoch.Add(clock.Production().CertManagerLook)); versions() != first {
		t.Errorf("nothing changed, and yet %s became %s", first, versions())
	}
	if waiting := m.waiting(t.Context()); !strings.HasPrefix(waiting, "Issuer kube-prepull-self-signed: ") {
		t.Errorf("it waits for %q", waiting)
	}
}

func TestAnotherCertificateIsAskedForOnce(t *testing.T) {
	t.Parallel()
	objects := certManagerObjects("infra", []string{"x"})
	ready := certmanagerv1.CertificateCondition{Type: certmanagerv1.CertificateConditionReady, Status: certmanagermeta.ConditionTrue}
	was := certmanagerv1.CertificateCondition{Type: certmanagerv1.CertificateConditionIssuing, Status: certmanagermeta.ConditionFalse, Reason: "Failed"}
	objects[3].(*certmanagerv1.Certificate).Status.Conditions = []certmanagerv1.CertificateCondition{ready, was}
	m := newCertManager(t, &served{resources: "issuers certificates"}, objects...)
	certificate := func() *certmanagerv1.Certificate {
		var c certmanagerv1.Certificate
		if err := m.client.Get(t.Context(), client.ObjectKey{Namespace: "infra", Name: ServingSecretName}, &c); err != nil {
			t.Fatal(err)
		}
		return &c
	}
	before := certificate()
	if m.maintain(t.Context(), upkeep{inUse: true}, epoch); certificate().ResourceVersion != before.ResourceVersion {
		t.Error("it is issued again for no reason")
	}
	m.maintain(t.Context(), upkeep{inUse: true, reissue: true}, epoch.Add(workTime))
	asked := certificate()
	conditions := asked.Status.Conditions
	if len(conditions) != 2 || conditions[0].Type != ready.Type || conditions[1].Type != was.Type || conditions[1].Status != certmanagermeta.ConditionTrue {
		t.Errorf("its conditions are %+v", conditions)
	}
	if m.maintain(t.Context(), upkeep{inUse: true, reissue: true}, epoch.Add(2*workTime)); certificate().ResourceVersion != asked.ResourceVersion {
		t.Error("it is asked for twice")
	}
}
