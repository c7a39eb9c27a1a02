package workload

import (
	"strings"
	"testing"
)

func TestNoopFolder(t *testing.T) {
	t.Parallel()
	folder := NoopFolder([16]byte{1, 2, 0xff})
	if folder != "/prepull-0102ff00000000000000000000000000" {
		t.Errorf("it is %s", folder)
	}
	for path, want := range map[string]bool{
		folder:                   true,
		"":                       false,
		"/prepull":               false,
		folder + "0":             false,
		"/x" + folder:            false,
		strings.ToUpper(folder):  false,
		folder[:len(folder)-1]:   false,
		folder + "/../../../etc": false,
	} {
		if got := IsNoopFolder(path); got != want {
			t.Errorf("%q is one: %v", path, got)
		}
	}
	if got := HideNoopFolder(`exec: "` + folder + `/noop": exec format error, ` + folder[:20]); got != `exec: "/prepull/noop": exec format error, /prepull` {
		t.Errorf("hidden it is %s", got)
	}
}
