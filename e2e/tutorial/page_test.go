package tutorial

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExamplesOfAPage(t *testing.T) {
	t.Parallel()
	page := "# Title\n\n    $ indented is not run\n\n```console\n$ kubectl get nodes\nNAME     STATUS\n\nnode-1   Ready\n$ true\n```\n\n" +
		"Text.\n\n```sh\n$ of another language\n```\n\n```console\n$ kubectl version\n...\n```\n"
	want := []example{
		{"kubectl get nodes", []string{"NAME     STATUS", "node-1   Ready"}}, {"true", nil}, {"kubectl version", []string{"..."}},
	}
	if diff := cmp.Diff(want, examplesOf(page), cmp.AllowUnexported(example{})); diff != "" {
		t.Errorf("examples (-want +got):\n%s", diff)
	}
}

func TestWhatAPageShows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		page, printed []string
		want          bool
	}{
		"the same":                     {[]string{"a b"}, []string{"a b"}, true},
		"columns of another width":     {[]string{"a  b"}, []string{"a       b "}, true},
		"another word":                 {[]string{"Ready"}, []string{"Pending"}, false},
		"another number":               {[]string{"3/3"}, []string{"2/3"}, false},
		"a line too many":              {[]string{"a"}, []string{"a", "b"}, false},
		"a line too few":               {[]string{"a", "b"}, []string{"a"}, false},
		"nothing where something is":   {nil, []string{"a"}, false},
		"any lines before":             {[]string{"...", "c"}, []string{"a", "b", "c"}, true},
		"any lines after":              {[]string{"a", "..."}, []string{"a", "b", "c"}, true},
		"any lines may be none":        {[]string{"a", "...", "b"}, []string{"a", "b"}, true},
		"any lines, and the wrong end": {[]string{"...", "c"}, []string{"a", "c", "b"}, false},
		"an age":                       {[]string{"8s ago", "5m"}, []string{"2m7s ago", "3d2h"}, true},
		"a time":                       {[]string{"in 4 min 50 s", "0.42 s"}, []string{"in 9 s", "1 h 2 min"}, true},
		"a size":                       {[]string{"38 MB"}, []string{"1.2 GB"}, true},
		"a part":                       {[]string{"82 % of it"}, []string{"7 % of it"}, true},
		"a size is no time":            {[]string{"38 MB"}, []string{"38 s"}, false},
		"an address":                   {[]string{"10.128.0.1:5000/bread"}, []string{"10.129.0.1:41234/bread"}, true},
		"an address, another image":    {[]string{"10.128.0.1:5000/bread"}, []string{"10.129.0.1:41234/cake"}, false},
		"the hash in a name":           {[]string{"bread-v1-1a2b3c4d"}, []string{"bread-v1-deadbeef"}, true},
		"a pod":                        {[]string{"bread-6d4cf56db6-x2x7k"}, []string{"bread-7f9c6b5d48-q8wz4"}, true},
		"a node":                       {[]string{"node-1"}, []string{"node-3"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := shows(test.page, test.printed); got != test.want {
				t.Errorf("%q shows %q: %t, want %t", test.page, test.printed, got, test.want)
			}
		})
	}
}
