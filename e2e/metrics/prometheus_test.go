package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

var prometheusPackage sync.Mutex

// prometheusProgram is where prometheus or promtool is. Debian's package is unpacked into the cache of this user, which
// starts no service.
func prometheusProgram(t *testing.T, name string) string {
	t.Helper()
	if found, err := exec.LookPath(name); err == nil {
		return found
	}
	prometheusPackage.Lock()
	defer prometheusPackage.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "kube-prepull", "prometheus")
	program := filepath.Join(dir, "usr/bin", name)
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skipf("SKIPPED: this needs %s, please install Prometheus", name)
	}
	t.Log("Fetching Prometheus")
	if err := fetchPrometheus(t, dir); err != nil {
		t.Fatal(err)
	}
	return program
}

func fetchPrometheus(t *testing.T, dir string) error {
	packages := t.TempDir()
	unpacked := dir + fmt.Sprint(".", os.Getpid())
	defer os.RemoveAll(unpacked)
	download := []string{"apt-get", "download", "prometheus"}
	if err := command(t, packages, download...); err != nil {
		if err := errors.Join(command(t, packages, "apt-get", "-o", "DPkg::Lock::Timeout=300", "update"), command(t, packages, download...)); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(packages, "prometheus_*.deb"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("fetched %v: %w", files, err)
	}
	if err := os.MkdirAll(unpacked, 0o755); err != nil {
		return err
	}
	if err := command(t, packages, "dpkg-deb", "-x", files[0], unpacked); err != nil {
		return err
	}
	return os.Rename(unpacked, dir)
}

func command(t *testing.T, dir string, args ...string) error {
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, output)
	}
	return nil
}

// lintMetrics fails on names, units and types that are not as Prometheus wants them.
func lintMetrics(t *testing.T, text string) {
	t.Helper()
	var ours strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "kube_prepull_") {
			ours.WriteString(line)
		}
	}
	cmd := exec.CommandContext(t.Context(), prometheusProgram(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(ours.String())
	if output, err := cmd.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, output)
	}
}

// prometheus is a real one that scrapes the managers of a product and evaluates the alerts.
type prometheus struct{ address string }

func startPrometheus(t *testing.T, p product) prometheus {
	t.Helper()
	program, dir := prometheusProgram(t, "prometheus"), t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close() //nolint:errcheck // only its port was wanted
	var targets []string
	for _, manager := range p.Managers(t) {
		targets = append(targets, net.JoinHostPort(manager.Status.PodIP, "8080"))
	}
	trust, err := p.Client().CoreV1().ConfigMaps(lab.System).Get(t.Context(), "kube-prepull-trust", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cas := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(cas, []byte(trust.Data["ca.crt"]), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{ // YAML too
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{lab.Source(alertsFile)},
		"scrape_configs": []any{map[string]any{
			"job_name": "kube-prepull", "static_configs": []any{map[string]any{"targets": targets}},
			"scheme": "https", "authorization": map[string]any{"credentials": p.ScrapeToken(t)},
			"tls_config": map[string]any{"ca_file": cas, "server_name": "kube-prepull.kube-prepull.svc"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // nothing of it is kept
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the log of Prometheus:\n%s", log.String())
		}
	})
	server := prometheus{address}
	lab.Eventually(t, "Prometheus", func() error {
		var ready any
		return server.get("query", url.Values{"query": {"up == 1"}}, &ready)
	})
	return server
}

// get asks Prometheus' API, and returns the data of its answer.
func (s prometheus) get(path string, query url.Values, data any) error {
	client := &http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://" + s.address + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          json.RawMessage
	}{}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// metricNames are those of a query that are metrics and not functions or labels.
var metricNames = regexp.MustCompile(`\b(?:kube_prepull|leader_election|process|controller_runtime|rest_client)_\w+`)

// checkQueries fails unless every panel of the dashboard shows something, every alert can be evaluated, and every metric
// that they mention exists.
func (s prometheus) checkQueries(t *testing.T) {
	t.Helper()
	queries := dashboardQueries(t)
	for _, query := range queries {
		lab.Eventually(t, "data for "+query, func() error {
			var data struct{ Result []any }
			if err := s.get("query", url.Values{"query": {query}}, &data); err != nil || len(data.Result) == 0 {
				return fmt.Errorf("there is none (%v)", err)
			}
			return nil
		})
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	lab.Eventually(t, "the alerts to be evaluated", func() error {
		if err := s.get("rules", nil, &rules); err != nil {
			return err
		}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
				}
			}
		}
		return nil
	})
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			queries = append(queries, r.Query)
		}
	}
	var known []string
	if err := s.get("label/__name__/values", nil, &known); err != nil {
		t.Fatal(err)
	}
	for _, query := range queries {
		if missing := sets.New(metricNames.FindAllString(query, -1)...).Difference(sets.New(known...)); len(missing) > 0 {
			t.Errorf("%s asks for what does not exist: %v", query, sets.List(missing))
		}
	}
}

const (
	dashboardFile = "deploy/dashboards/kube-prepull.json"
	alertsFile    = "deploy/dashboards/alerts.yaml"
)

// dashboardQueries are those of all panels, as Grafana would send them.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(lab.Source(dashboardFile))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$__range", "10m")
	var queries []string
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			queries = append(queries, variables.Replace(target.Expr))
		}
	}
	if len(queries) == 0 || slices.Contains(queries, "") {
		t.Fatalf("the queries are %q", queries)
	}
	return queries
}

// TestTheAlerts has promtool read the alerts, and compares with testdata/alerts_test.yaml when each fires and when not.
func TestTheAlerts(t *testing.T) {
	t.Parallel()
	promtool := prometheusProgram(t, "promtool")
	for _, args := range [][]string{{"check", "rules", lab.Source(alertsFile)}, {"test", "rules", lab.Source("e2e/testdata/alerts_test.yaml")}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v: %s", args, err, output)
		}
	}
	alerts := readAlerts(t)
	tests, err := os.ReadFile(lab.Source("e2e/testdata/alerts_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	runbooks, err := os.ReadFile(lab.Source("docs/runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range alerts {
		fires := regexp.MustCompile(`alertname: ` + name + `\n\s+exp_alerts:\n`).Match(tests)
		quiet := regexp.MustCompile(`alertname: ` + name + `\n\s+exp_alerts: \[\]\n`).Match(tests)
		if !fires || !quiet {
			t.Errorf("%s is tested to fire: %t, to be quiet: %t", name, fires, quiet)
		}
		if !strings.Contains(string(runbooks), "\n## "+name+"\n") {
			t.Errorf("%s has no runbook", name)
		}
	}
	if got := strings.Count(string(runbooks), "\n## KubePrepull"); got != len(alerts) {
		t.Errorf("there are %d runbooks for %d alerts", got, len(alerts))
	}
}

// readAlerts are the names of the alerts, each of which must point to its runbook.
func readAlerts(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(lab.Source(alertsFile))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, match[1])
		if link := "docs/runbooks.md#" + strings.ToLower(match[1]) + "\n"; !strings.Contains(string(text), link) {
			t.Errorf("%s does not point to its runbook %s", match[1], strings.TrimSpace(link))
		}
	}
	if len(names) == 0 {
		t.Fatal("there are no alerts")
	}
	return names
}
