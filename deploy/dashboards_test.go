package deploy_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The chart brings the files of deploy/dashboards as they are, if somebody wants them.
func TestDashboardsAndAlertsAreInTheChart(t *testing.T) {
	t.Parallel()
	objects := decode(t, render(t, "--set", "dashboards.enabled=true,annotations.owner=platform", "--show-only", "templates/dashboards.yaml"))
	dashboards := only[*corev1.ConfigMap](t, objects)
	if dashboards.Labels["grafana_dashboard"] != "1" || dashboards.Annotations["owner"] != "platform" {
		t.Errorf("labels are %v, annotations %v", dashboards.Labels, dashboards.Annotations)
	}
	var want, got any
	if err := json.Unmarshal(read(t, "dashboards/kube-prepull.json"), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(dashboards.Data["kube-prepull.json"]), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dashboard (-file +chart):\n%s", diff)
	}

	var alerts struct {
		metav1.TypeMeta
		metav1.ObjectMeta `json:"metadata"`
		Spec              any
	}
	if err := yaml.Unmarshal([]byte(render(t, "--set", "alerts.enabled=true,annotations.owner=platform", "--show-only", "templates/alerts.yaml")), &alerts); err != nil {
		t.Fatal(err)
	}
	if alerts.Annotations["owner"] != "platform" {
		t.Errorf("annotations are %v", alerts.Annotations)
	}
	if err := yaml.Unmarshal(read(t, "dashboards/alerts.yaml"), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, alerts.Spec); diff != "" || alerts.Kind != "PrometheusRule" {
		t.Errorf("%s (-file +chart):\n%s", alerts.Kind, diff)
	}
}
