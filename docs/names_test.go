package docs_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	keyName    = regexp.MustCompile(`(?:[a-z]+\.)?kube-prepull\.io/[A-Za-z-]*[A-Za-z]`)
	metricName = regexp.MustCompile(`\bkube_prepull_[a-z_]*[a-z]`)
)

// TestNamesExist: each label, annotation, taint and metric that a page or a runbook names is in the reference, which is generated
// from the code.
func TestNamesExist(t *testing.T) {
	t.Parallel()
	keys, metrics := read(t, "reference/labels.md"), read(t, "reference/metrics.md")
	seen := 0
	for _, file := range files(t) {
		if page := filepath.ToSlash(file); filepath.Ext(page) != ".md" || strings.HasSuffix(page, "CHANGELOG.md") {
			continue
		}
		text := read(t, file)
		for _, key := range keyName.FindAllString(text, -1) {
			prefix, _, _ := strings.Cut(key, "/")
			seen++
			if key != "kube-prepull.io/v" && !strings.Contains(keys, "| `"+key+"` |") && (prefix == "kube-prepull.io" || !strings.Contains(keys, "| `"+prefix+"/` |")) {
				t.Errorf("%s names %s, which docs/reference/labels.md does not", file, key)
			}
		}
		for _, metric := range metricName.FindAllString(text, -1) {
			seen++
			if !strings.Contains(metrics, "| `"+strings.TrimSuffix(metric, "_bucket")+"` |") {
				t.Errorf("%s names %s, which docs/reference/metrics.md does not", file, metric)
			}
		}
	}
	if seen < 100 {
		t.Errorf("%d names were found: the pages have more", seen)
	}
}
