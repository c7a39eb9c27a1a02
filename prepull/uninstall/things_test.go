package uninstall

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A client deletes kinds whose types it does not know: those of cert-manager and of Prometheus, and the CRD. The API server
// answers with what it deletes if that is not gone at once.
func TestAClientNeedsNoTypes(t *testing.T) {
	t.Parallel()
	all := slices.Concat(made, installed, []thing{webhookConfiguration, managers, crd})
	var asking sync.Mutex
	var deleted []string
	mapper := meta.NewDefaultRESTMapper(nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asking.Lock()
		defer asking.Unlock()
		var answer any = metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess}
		switch {
		case r.Method == http.MethodDelete:
			deleted = append(deleted, strings.TrimSuffix(r.URL.Path+"?"+r.URL.Query().Get("labelSelector"), "?"))
			for _, thing := range all {
				mapping, err := mapper.RESTMapping(thing.kind.GroupKind(), thing.kind.Version)
				if err == nil && thing.name != "" && strings.HasSuffix(r.URL.Path, mapping.Resource.Resource+"/"+thing.name) {
					answer = thing.object("infra")
				}
			}
		case strings.HasSuffix(r.URL.Path, "/pods"):
			answer = corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		case r.Method == http.MethodGet:
			answer = metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}}
		default:
			answer = apierrors.NewBadRequest(r.Method).Status()
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	for _, thing := range all {
		scope := meta.RESTScope(meta.RESTScopeNamespace)
		if thing.wide {
			scope = meta.RESTScopeRoot
		}
		mapper.Add(thing.kind, scope)
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(&rest.Config{Host: server.URL, QPS: -1}, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), c, Options{Namespace: "infra", Installed: true, CRD: true, Tell: func(string) {}}); err != nil {
		t.Fatal(err)
	}
	for _, thing := range all {
		mapping, err := mapper.RESTMapping(thing.kind.GroupKind(), thing.kind.Version)
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimSuffix("/"+mapping.Resource.Resource+"/"+thing.name, "/")
		if !thing.wide {
			path = "/namespaces/infra" + path
		}
		if thing.selector != nil {
			path += "?" + thing.selector.String()
		}
		if !slices.ContainsFunc(deleted, func(asked string) bool { return strings.HasSuffix(asked, path) }) {
			t.Errorf("nobody deletes %s", thing.called(thing.name))
		}
	}
}

// The page of what is installed names all that managers make, and every kind of the chart.
func TestThePageNamesEveryThing(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/installed.md")
	if err != nil {
		t.Fatal(err)
	}
	_, ofManagers, _ := strings.Cut(string(page), "## What the managers make")
	for _, thing := range made {
		if !regexp.MustCompile("(?m)^\\| `" + thing.kind.Kind + "` \\|.*" + regexp.QuoteMeta(thing.name)).MatchString(ofManagers) {
			t.Errorf("docs/installed.md does not name %s %s", thing.kind.Kind, thing.name)
		}
	}
	for _, thing := range installed {
		if !strings.Contains(string(page), "| `"+thing.kind.Kind+"` |") {
			t.Errorf("docs/installed.md does not name the kind %s", thing.kind.Kind)
		}
	}
}
