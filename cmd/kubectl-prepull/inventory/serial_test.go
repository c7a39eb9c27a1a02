package inventory

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestWhichKubeletsPullOneByOne(t *testing.T) {
	t.Parallel()
	const first, second = "kube-prepull-linux-amd64-abcde", "kube-prepull-linux-amd64-lane-2-abcde"
	waits, goes := `Successfully pulled image "a:v1" in 2s (6s including waiting)`, `Successfully pulled image "a:v1" in 6s (6s including waiting)`
	present := `Container image "a:v1" already present on machine`
	for name, tc := range map[string]struct {
		said []string // pod and message
		want string
	}{
		"nothing was pulled":               {nil, ""},
		"side by side":                     {[]string{first, goes, second, goes, second, goes}, ""},
		"one by one":                       {[]string{first, goes, second, waits, second, waits}, "node-1"},
		"one that waits may be chance":     {[]string{second, waits}, ""},
		"one that does not wait":           {[]string{second, waits, second, waits, second, goes}, ""},
		"the first pod of a node may wait": {[]string{first, waits, first, waits}, ""},
		"what is there was not pulled":     {[]string{second, waits, second, present, second, waits}, "node-1"},
	} {
		var pulls []event
		for i := 0; i < len(tc.said); i += 2 {
			e, ok := eventOf(&corev1.Event{
				Reason: "Pulled", Message: tc.said[i+1], Source: corev1.EventSource{Host: "node-1"},
				InvolvedObject: corev1.ObjectReference{Namespace: "kube-prepull", Name: tc.said[i], FieldPath: fmt.Sprintf("spec.initContainers{a%d}", i)},
			})
			if !ok {
				t.Fatalf("%q is not understood", tc.said[i+1])
			}
			pulls = append(pulls, e)
		}
		if got := strings.Join(serialNodes(pulls), " "); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
