package deploy_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
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

// panel is what of a panel of Grafana people look at.
type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit string
			Min  *float64
		}
	}
	Targets []struct{ Expr, LegendFormat string }
}

func dashboardPanels(t *testing.T) []panel {
	t.Helper()
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal(read(t, "dashboards/kube-prepull.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	return dashboard.Panels
}

// Grafana's grid has 24 columns. Each cell of it is one panel's, down to the last row.
func TestTheDashboardHasNoGapAndNoOverlap(t *testing.T) {
	t.Parallel()
	const columns = 24
	taken, bottom := map[[2]int]string{}, 0
	for _, p := range dashboardPanels(t) {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s is over %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.GridPos.X+p.GridPos.W > columns {
			t.Errorf("%s ends outside of the grid", p.Title)
		}
		bottom = max(bottom, p.GridPos.Y+p.GridPos.H)
	}
	for y := range bottom {
		for x := range columns {
			if taken[[2]int{x, y}] == "" {
				t.Fatalf("nothing is at column %d, row %d", x, y)
			}
		}
	}
}

var (
	ownMetric = regexp.MustCompile(`\bkube_prepull_[a-z_]+`)
	grouping  = regexp.MustCompile(`\bby \(([a-z_, ]+)\)`)
	reference = regexp.MustCompile("(?m)^\\| `(kube_prepull_[a-z_]+)` \\| (counter|gauge|histogram) \\| ([a-z_`, ]*) ?\\|")
)

// Each panel says what it shows, in which unit, and asks for metrics and labels that exist. Lines have names of their own.
func TestTheDashboardSaysWhatItShows(t *testing.T) {
	t.Parallel()
	labels := map[string]string{}
	for _, m := range reference.FindAllStringSubmatch(string(read(t, "../docs/reference/metrics.md")), -1) {
		labels[m[1]] = m[3]
		if m[2] == "histogram" {
			labels[m[1]+"_bucket"], labels[m[1]+"_sum"] = m[3]+"`le`", m[3]
		}
	}
	seen := map[int]bool{}
	for _, p := range dashboardPanels(t) {
		if seen[p.ID] {
			t.Errorf("%s has the id of another panel", p.Title)
		}
		seen[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if !strings.HasSuffix(p.Description, ".") || p.FieldConfig.Defaults.Unit == "" || p.FieldConfig.Defaults.Min == nil {
			t.Errorf("%s has no description, no unit, or does not begin at 0", p.Title)
		}
		var legends []string
		for _, target := range p.Targets {
			if p.Type != "stat" && (target.LegendFormat == "" || slices.Contains(legends, target.LegendFormat)) {
				t.Errorf("%s has a line without a name of its own", p.Title)
			}
			legends = append(legends, target.LegendFormat)
			checkQuery(t, p.Title, target.Expr, target.LegendFormat, labels)
		}
	}
}

// checkQuery of a panel. labels are those of the metrics that there are.
func checkQuery(t *testing.T, title, query, legend string, labels map[string]string) {
	t.Helper()
	var known string
	for _, name := range ownMetric.FindAllString(query, -1) {
		if _, ok := labels[name]; !ok {
			t.Errorf("%s asks for %s, which is in no reference", title, name)
		}
		known += labels[name]
	}
	by := ""
	if m := grouping.FindStringSubmatch(query); m != nil {
		by = m[1]
	}
	for label := range strings.SplitSeq(by, ", ") {
		if label != "" && !strings.Contains(known, "`"+label+"`") {
			t.Errorf("%s asks for the label %s, which its metrics do not have", title, label)
		}
		if label != "" && label != "le" && legend != "{{"+label+"}}" {
			t.Errorf("%s has a line for each %s, and calls all of them %q", title, label, legend)
		}
	}
}
