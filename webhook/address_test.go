package webhook

import (
	"net/http"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// configurationWith has a webhook that observes and two that pin, at these paths; empty is none.
func configurationWith(paths ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
	observe := Path
	config := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "kube-prepull"}}
	add := func(name string, path *string) {
		config.Webhooks = append(config.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: name, ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Path: path}},
		})
	}
	add("pods.kube-prepull.io", &observe)
	for i, path := range paths {
		name := []string{"pods", "workloads"}[i] + ".rewrite.kube-prepull.io"
		if path == "" {
			add(name, nil)
		} else {
			add(name, &path)
		}
	}
	return config
}

func TestTheLeaderMakesUpThePath(t *testing.T) {
	t.Parallel()
	good := newPath()
	for name, test := range map[string]struct {
		config  *admissionregistrationv1.MutatingWebhookConfiguration
		changed bool
	}{
		"there is none":           {configurationWith("", ""), true},
		"one is missing":          {configurationWith(good, ""), true},
		"one is easily guessed":   {configurationWith(good, RewritePath+"/1"), true},
		"one is no secret at all": {configurationWith(good, RewritePath), true},
		"all have a secret":       {configurationWith(good, good), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := fake.NewClientBuilder().WithObjects(test.config.DeepCopy()).Build()
			a := address{api, "kube-prepull"}
			if _, err := a.reconcile(t.Context(), reconcile.Request{}); err != nil {
				t.Fatal(err)
			}
			var list admissionregistrationv1.MutatingWebhookConfigurationList
			if err := api.List(t.Context(), &list); err != nil {
				t.Fatal(err)
			}
			stored := list.Items[0]
			if *stored.Webhooks[0].ClientConfig.Service.Path != Path {
				t.Error("the path of another webhook is changed")
			}
			for i := 1; i < len(stored.Webhooks); i++ {
				path := pathOf(&stored.Webhooks[i])
				if len(validation.IsDNS1123Subdomain(strings.TrimPrefix(path, RewritePath+"/"))) > 0 {
					t.Errorf("the API server would refuse the path %q", path)
				}
				if !secret(path) || !a.known(t.Context(), path) {
					t.Errorf("webhook %d is at %q", i, path)
				}
				if a.known(t.Context(), path+"x") {
					t.Error("another path is known")
				}
			}
			if changed := pathOf(&stored.Webhooks[2]) != good; changed != test.changed {
				t.Errorf("changed: %t, want %t", changed, test.changed)
			}
		})
	}
}

func TestAPathThatIsNoSecretIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", RewritePath, RewritePath + "/", RewritePath + "/guess"} {
		a := address{fake.NewClientBuilder().WithObjects(configurationWith(path, path)).Build(), "kube-prepull"}
		if a.known(t.Context(), path) {
			t.Errorf("path %q is known", path)
		}
	}
	gone := address{fake.NewClientBuilder().Build(), "kube-prepull"}
	if gone.known(t.Context(), newPath()) {
		t.Error("a path is known without a configuration")
	}
}

// A review at another path is not even read.
func TestAReviewAtAnotherPathIsNotPinned(t *testing.T) {
	t.Parallel()
	h := rewriting(t, labelled, func(string, bool) (string, error) { t.Error("a registry was asked"); return two, nil })
	h.rewriter.cached = nil
	review := reviewOf(t, "apps", "Deployment", "", deploymentWith("", "", "app:latest"))
	for _, path := range []string{RewritePath, RewritePath + "/", RewritePath + "/guess", "/"} {
		if answer := postTo(h, path, review); answer.Code != http.StatusNotFound {
			t.Errorf("status %d at %s, want 404", answer.Code, path)
		}
	}
	if answer := postTo(h, Path, review); answer.Code != http.StatusOK || strings.Contains(answer.Body.String(), "patch") {
		t.Errorf("where it is only observed, the answer is %d %s", answer.Code, answer.Body)
	}
}

// Those who may send anything must not take the room of those who are known.
func TestStrangersLeaveTheRoomOfTheAPIServer(t *testing.T) {
	t.Parallel()
	h := rewriting(t, labelled, pointsTo(two))
	h.budget.keep(h.budget.reserve("stranger", maxInFlight, func() {}))
	object := deploymentWith("", "", "app:latest")
	if _, operations, _ := admitted(t, h, reviewOf(t, "apps", "Deployment", "", object), object); len(operations) == 0 {
		t.Error("it is not pinned")
	}
}
