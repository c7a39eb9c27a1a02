package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// metric is one that some code of the manager defines.
type metric struct {
	name, kind, help string
	labels           []string
}

// kinds are what the constructors of the Prometheus client make.
var kinds = map[string]string{
	"NewCounter": "counter", "NewCounterVec": "counter", "NewGauge": "gauge", "NewGaugeVec": "gauge",
	"NewHistogram": "histogram", "NewHistogramVec": "histogram",
}

// parseMetrics finds the metrics that Go files in some folders define, by their names.
func parseMetrics(dirs ...string) ([]metric, error) {
	var found []metric
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			metrics, err := metricsIn(file, text)
			found = append(found, metrics...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	return found, nil
}

// metricsIn fails on a definition that it cannot read: none may be missing from the documentation.
func metricsIn(file string, text []byte) ([]metric, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
	if err != nil {
		return nil, err
	}
	var found []metric
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		options, ok := call.Args[0].(*ast.CompositeLit)
		if !ok || !isOptions(options.Type) {
			return true
		}
		m, wrong := metricOf(call, options)
		if wrong != nil && err == nil {
			err = fmt.Errorf("%s: %w", file, wrong)
		}
		found = append(found, m)
		return true
	})
	return found, err
}

// isOptions is true for prometheus.CounterOpts and the like.
func isOptions(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "prometheus" && strings.HasSuffix(s.Sel.Name, "Opts")
}

func metricOf(call *ast.CallExpr, options *ast.CompositeLit) (metric, error) {
	m := metric{}
	if constructor, ok := call.Fun.(*ast.SelectorExpr); ok {
		m.kind = kinds[constructor.Sel.Name]
	}
	for _, element := range options.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch key, _ := pair.Key.(*ast.Ident); key.Name {
		case "Name":
			m.name = literal(pair.Value)
		case "Help":
			m.help = literal(pair.Value)
		}
	}
	if m.kind == "" || m.name == "" || m.help == "" {
		return m, fmt.Errorf("the metric %q is not a literal name and help in a call of a known constructor", m.name)
	}
	for _, arg := range call.Args[1:] {
		labels, ok := arg.(*ast.CompositeLit)
		if !ok {
			return m, fmt.Errorf("the labels of the metric %s are no literals", m.name)
		}
		for _, label := range labels.Elts {
			m.labels = append(m.labels, literal(label))
		}
	}
	return m, nil
}

// literal is the value of a string literal, empty for anything else.
func literal(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	value, _ := strconv.Unquote(l.Value)
	return value
}

func metricsPage(metrics []metric) string {
	var out strings.Builder
	out.WriteString("# Metrics\n\nWhat a manager serves at `/metrics`, besides the metrics of controller-runtime, client-go and Go. " +
		"How the figures of workloads come about is told in [metrics.md](../metrics.md), and what to do about them in [runbooks.md](../runbooks.md).\n\n" +
		"| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n")
	for _, m := range metrics {
		var labels []string
		for _, label := range m.labels {
			labels = append(labels, "`"+label+"`")
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(labels, ", "), cell(m.help))
	}
	return out.String()
}
