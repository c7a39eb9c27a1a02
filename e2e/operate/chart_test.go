package operate

import (
	"regexp"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// versioned gives the chart another version.
func versioned(version string) lab.Edit {
	line := regexp.MustCompile(`(?m)^(version|appVersion): .*$`)
	return lab.Edit{File: "Chart.yaml", Text: func(text string) string { return line.ReplaceAllString(text, "$1: "+version) }}
}

// without takes fields of the status out of the CRD.
func without(fields ...string) lab.Edit {
	return lab.Edit{File: "files/crds/kube-prepull.io_prepullimages.yaml", Text: func(text string) string {
		for _, field := range fields {
			// The field, and every line that is indented more.
			text = regexp.MustCompile(`(?m)^ {14}`+field+`:\n(?: {15,}.*\n)+`).ReplaceAllString(text, "")
		}
		return text
	}}
}
