package deploy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func TestWhatIsMadeForMetrics(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		values []string
		want   []string
	}{
		"as installed":  {nil, []string{"ClusterRole", "ConfigMap", "Service https", "port"}},
		"for everybody": {[]string{"--set", "config.metricsAuthentication=false"}, []string{"ConfigMap", "Service http", "port"}},
		"none":          {[]string{"--set-string", "config.metricsAddress=0"}, []string{"ConfigMap"}},
		"with a certificate of one's own": {[]string{"--set", "config.certificates=directory,certificate.secretName=own"},
			[]string{"ClusterRole", "Service https", "port"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := decode(t, render(t, tt.values...))
			var got []string
			for _, o := range objects {
				switch {
				case o.GetName() == "kube-prepull-metrics-reader":
					got = append(got, "ClusterRole")
					want := []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}
					if diff := cmp.Diff(want, o.(*rbacv1.ClusterRole).Rules); diff != "" {
						t.Errorf("the role of scrapers (-want +got):\n%s", diff)
					}
				case o.GetName() == "kube-prepull-metrics":
					got = append(got, "Service "+*o.(*corev1.Service).Spec.Ports[0].AppProtocol)
				case o.GetName() == "kube-prepull-trust":
					got = append(got, "ConfigMap")
					if len(o.(*corev1.ConfigMap).Data) > 0 {
						t.Error("the chart sets the CAs, which are the leader's")
					}
				}
			}
			if slices.ContainsFunc(only[*appsv1.Deployment](t, objects).Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == "metrics" }) {
				got = append(got, "port")
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// The API of the Prometheus operator is no dependency: what its documentation says is written down here.
func TestMonitorsScrapeWithATokenAndVerify(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ file, values, want string }{
		"a ServiceMonitor": {"servicemonitor", "serviceMonitor.enabled=true,serviceMonitor.interval=15s,serviceMonitor.labels.release=prometheus", `
endpoints:
  - port: metrics
    path: /metrics
    scheme: https
    interval: 15s
    bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
    tlsConfig: {ca: {configMap: {name: kube-prepull-trust, key: ca.crt}}, serverName: kube-prepull.kube-prepull.svc}
`},
		"a ServiceMonitor with another token": {"servicemonitor", "serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus,serviceMonitor.authorization.credentials.name=a,serviceMonitor.tlsConfig.insecureSkipVerify=true", `
endpoints:
  - port: metrics
    path: /metrics
    scheme: https
    authorization: {credentials: {name: a}}
    tlsConfig: {insecureSkipVerify: true}
`},
		"a ServiceMonitor of metrics for everybody": {"servicemonitor", "serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus,config.metricsAuthentication=false", `
endpoints:
  - {port: metrics, path: /metrics, scheme: http}
`},
		"a PodMonitor": {"podmonitor", "podMonitor.enabled=true,podMonitor.labels.release=prometheus,podMonitor.authorization.credentials.name=a", `
podMetricsEndpoints:
  - port: metrics
    path: /metrics
    scheme: https
    authorization: {credentials: {name: a}}
    tlsConfig: {ca: {configMap: {name: kube-prepull-trust, key: ca.crt}}, serverName: kube-prepull.kube-prepull.svc}
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got struct {
				Metadata struct{ Labels map[string]string }
				Spec     map[string]any
			}
			if err := yaml.Unmarshal([]byte(render(t, "--set", tt.values, "--show-only", "templates/metrics/"+tt.file+".yaml")), &got); err != nil {
				t.Fatal(err)
			}
			if got.Metadata.Labels["release"] != "prometheus" {
				t.Errorf("labels %v", got.Metadata.Labels)
			}
			selector, _, _ := unstructured.NestedStringMap(got.Spec, "selector", "matchLabels")
			service := named[*corev1.Service](t, installed(t), "kube-prepull-metrics")
			if !labels.SelectorFromSet(selector).Matches(labels.Set(service.Labels)) || len(selector) == 0 {
				t.Errorf("the selector is %v", selector)
			}
			delete(got.Spec, "selector")
			var want map[string]any
			if err := yaml.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Spec); diff != "" {
				t.Errorf("the spec (-want +got):\n%s", diff)
			}
		})
	}
}
