package gocommand

import (
	"bytes"
	"testing"
)

func TestReadBuildOutputCountsPackagesAndKeepsErrors(t *testing.T) {
	t.Parallel()
	compiled := 0
	output := bytes.NewBufferString("go: downloading a v1\nexample.com/a\nexample.com/b\n# example.com/c\nc.go:1:1: syntax error\n")
	said := readBuildOutput(output, func() { compiled++ })
	if compiled != 2 || said != "# example.com/c\nc.go:1:1: syntax error\n" {
		t.Errorf("got %d packages and %q", compiled, said)
	}
}
