package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	const head = "package a\n\nvar m = "
	tests := map[string]struct {
		code  string
		want  []metric
		wrong string
	}{
		"a counter": {
			code: `prometheus.NewCounter(prometheus.CounterOpts{Name: "a_total", Help: "All."})`,
			want: []metric{{"a_total", "counter", "All.", nil}},
		},
		"a histogram with labels and buckets, registered where it is made": {
			code: `promauto.With(r).NewHistogramVec(prometheus.HistogramOpts{Name: "a_seconds", Help: "Time.", Buckets: []float64{1}}, []string{"x", "y"})`,
			want: []metric{{"a_seconds", "histogram", "Time.", []string{"x", "y"}}},
		},
		"options of something else":   {code: `http.NewServer(http.Opts{Name: "a"})`},
		"a metric without help":       {code: `prometheus.NewGauge(prometheus.GaugeOpts{Name: "a"})`, wrong: `"a" is not a literal`},
		"a name that is put together": {code: `prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "a", Help: "A."})`, wrong: "not a literal"},
		"a constructor nobody knows":  {code: `prometheus.NewSummary(prometheus.SummaryOpts{Name: "a", Help: "A."})`, wrong: "known constructor"},
		"labels that are a variable":  {code: `prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "a", Help: "A."}, labels)`, wrong: "no literals"},
		"no Go":                       {code: `}`, wrong: "expected"},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got, err := metricsIn("a.go", []byte(head+tc.code+"\n"))
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Errorf("error %v, want %q", err, tc.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(metric{})); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMetricsPage(t *testing.T) {
	t.Parallel()
	page := metricsPage([]metric{{"a_total", "counter", "All, a|b.", []string{"x", "y"}}})
	if row := "| `a_total` | counter | `x`, `y` | All, a\\|b. |\n"; !strings.HasSuffix(page, row) {
		t.Errorf("the page ends otherwise than in %q:\n%s", row, page)
	}
}
