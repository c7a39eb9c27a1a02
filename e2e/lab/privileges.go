package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/privilege"
)

// asked is what kube-prepull asked of the API servers of all clusters that have gone down. What the roles of the chart
// grant beyond that is too much.
var asked struct {
	sync.Mutex
	allowed map[privilege.Access]bool
}

// span is a time in which a test takes permissions away; without an end it lasts.
type span struct{ from, to time.Time }

func (s span) contains(t time.Time) bool {
	return !t.Before(s.from) && (s.to.IsZero() || !t.After(s.to))
}

// MayBeRefused begins a time in which kube-prepull may be refused what it asks for, because the test takes permissions
// away. The function that it returns ends it.
func (p *Product) MayBeRefused() (end func()) {
	p.refusals = append(p.refusals, span{from: time.Now()})
	last := len(p.refusals) - 1
	return func() { p.refusals[last].to = time.Now() }
}

// audited is a cluster whose API server writes down what kube-prepull asks for.
func audited(o cluster.Options) cluster.Options {
	o.APIServerFlags = append(slices.Clone(o.APIServerFlags),
		"--audit-policy-file="+Source("e2e/testdata/audit-policy.yaml"), "--audit-log-path="+filepath.Join(o.Dir, "logs", "audit.log"))
	return o
}

// collect adds up what was asked for in a cluster.
func collect(c *cluster.Cluster, except []span) error {
	asked.Lock()
	defer asked.Unlock()
	if asked.allowed == nil {
		asked.allowed = map[privilege.Access]bool{}
	}
	refused := map[privilege.Access]time.Time{}
	each := func(e privilege.Event) {
		switch {
		case !e.Refused:
			asked.allowed[e.Access] = true
		case !slices.ContainsFunc(except, func(s span) bool { return s.contains(e.Time) }):
			refused[e.Access] = e.Time
		}
	}
	// A log that is long is continued in another file.
	logs, _ := filepath.Glob(filepath.Join(c.Dir(), "logs", "audit*.log"))
	var errs []error
	for _, log := range logs {
		errs = append(errs, readLog(log, each), os.Truncate(log, 0)) // whoever leases the cluster next begins anew
	}
	for access, when := range refused {
		errs = append(errs, fmt.Errorf("refused at %s, %s", when.Format(time.StampMilli), access))
	}
	return errors.Join(errs...)
}

func readLog(path string, each func(privilege.Event)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return privilege.ReadLog(f, each)
}

// checkUnexplained returns an error if kube-prepull was allowed what the chart does not grant.
func checkUnexplained() error {
	_, _, err := compareAsked(slices.Collect(maps.Keys(asked.allowed)))
	return err
}

// CheckPrivileges compares what kube-prepull asked for in all the test processes that used a pool with what the chart grants.
// It is an error if it was allowed anything else, or if no test needed a permission, which only a complete run can tell: one
// that is not says why.
func (p *Pool) CheckPrivileges(w io.Writer, incomplete string) error {
	files, err := filepath.Glob(filepath.Join(p.dir, "asked-*.json"))
	if err != nil {
		return err
	}
	var all []privilege.Access
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var some []privilege.Access
		if err := json.Unmarshal(content, &some); err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		all = append(all, some...)
	}
	unused, granted, err := compareAsked(all)
	if incomplete != "" {
		fmt.Fprintf(w, "permissions: that each is used is not checked: %s; %d of %d were not used\n", incomplete, len(unused), granted)
		return err
	}
	fmt.Fprintf(w, "permissions: %d of %d were not used\n", len(unused), granted)
	errs := []error{err}
	for _, access := range unused {
		errs = append(errs, fmt.Errorf("granted, and not used by any test, %s", access))
	}
	return errors.Join(errs...)
}

// saveAsked leaves what was asked for in this process in the folder of a pool, for CheckPrivileges.
func saveAsked(dir string) error {
	content, err := json.Marshal(slices.Collect(maps.Keys(asked.allowed)))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fmt.Sprintf("asked-%d.json", os.Getpid())), content, 0o644)
}

// compareAsked says what the chart grants that was not asked for, and how much it grants. What it does not grant is an error.
func compareAsked(allowed []privilege.Access) (unused []privilege.Access, granted int, err error) {
	if len(allowed) == 0 {
		return nil, 0, nil // no test had kube-prepull running
	}
	grants, err := chartGrants(context.Background())
	if err != nil {
		return nil, 0, err
	}
	unused, unexplained := privilege.Compare(grants, allowed)
	var errs []error
	for _, access := range unexplained {
		// Everybody may ask what they may do. Asking is no use of it.
		if access.Resource != "selfsubjectaccessreviews" {
			errs = append(errs, fmt.Errorf("allowed, though not by the chart, %s", access))
		}
	}
	return unused, len(grants), errors.Join(errs...)
}

// variants are the values of the chart that grant something that others do not.
var variants = [][]string{
	{"config.pullSecrets=true"},
	{"config.pullSecrets=false"},
	{"config.certificates=directory", "certificate.secretName=own"},
	{"config.nodeCondition=true", "config.gate.enabled=true"},
	{"wait.enabled=true"},
}

// chartGrants is what the chart grants with any of the variants.
func chartGrants(ctx context.Context) ([]privilege.Access, error) {
	programs, err := cluster.Binaries(ctx, io.Discard)
	if err != nil {
		return nil, err
	}
	grants := map[privilege.Access]bool{}
	for _, values := range variants {
		manifest, err := exec.CommandContext(ctx, filepath.Join(programs, "helm"), "template", "kube-prepull", Source("deploy/chart"),
			"--namespace", System, "--set", strings.Join(values, ",")).Output()
		if err != nil {
			return nil, fmt.Errorf("rendering the chart with %v: %w", values, err)
		}
		granted, err := privilege.Granted(bytes.NewReader(manifest))
		if err != nil {
			return nil, err
		}
		for _, access := range granted {
			grants[access] = true
		}
	}
	return slices.Collect(maps.Keys(grants)), nil
}
