package pulled

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason, message string
		want            Image
		ok              bool
	}{
		"present": {
			"Pulled", `Container image "shop/app:v1" already present on machine`,
			Image{Name: "shop/app:v1", Present: true}, true,
		},
		"longer than a kubelet writes": {"Pulled", `Container image "shop/app:v1" already present on machine` + strings.Repeat(".", 4096), Image{}, false},
		"present, with credentials that were compared": {
			"Pulled", `Container image "shop/app:v1" already present on machine and can be accessed by the pod`,
			Image{Name: "shop/app:v1", Present: true}, true,
		},
		"pulled": {
			"Pulled", `Successfully pulled image "shop/app:v1" in 3.3s (9.012s including waiting). Image size: 20971520 bytes.`,
			Image{Name: "shop/app:v1", Took: 3300 * time.Millisecond, Waited: 9012 * time.Millisecond, Bytes: 20 << 20}, true,
		},
		"pulled for minutes": {
			"Pulled", `Successfully pulled image "shop/app:v1" in 1m47.3s (1m47.3s including waiting). Image size: 1 bytes.`,
			Image{Name: "shop/app:v1", Took: 107300 * time.Millisecond, Waited: 107300 * time.Millisecond, Bytes: 1}, true,
		},
		"pulled by a kubelet that does not tell the size": {
			"Pulled", `Successfully pulled image "shop/app:v1" in 120µs (1ms including waiting)`,
			Image{Name: "shop/app:v1", Took: 120 * time.Microsecond, Waited: time.Millisecond}, true,
		},
		"pulled by a kubelet that does not tell the waiting": {
			"Pulled", `Successfully pulled image "shop/app:v1" in 2s`,
			Image{Name: "shop/app:v1", Took: 2 * time.Second, Waited: 2 * time.Second}, true,
		},
		"a name with a quote":      {"Pulled", `Container image "a\"b" already present on machine`, Image{Name: `a"b`, Present: true}, true},
		"a name that is cut off":   {"Pulled", `Container image "a\`, Image{}, false},
		"no duration":              {"Pulled", `Successfully pulled image "a" in abc (1s including waiting)`, Image{}, false},
		"another reason":           {"Created", `Container image "a" already present on machine`, Image{}, false},
		"other words":              {"Pulled", `Image volume mounted`, Image{}, false},
		"a size beyond all bounds": {"Pulled", `Successfully pulled image "a" in 1s (1s including waiting). Image size: 99999999999999999999 bytes.`, Image{Name: "a", Took: time.Second, Waited: time.Second, Bytes: 1<<63 - 1}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := Parse(&corev1.Event{Reason: test.reason, Message: test.message})
			if ok != test.ok {
				t.Fatalf("understood: %v, want %v", ok, test.ok)
			}
			if diff := cmp.Diff(test.want, got); ok && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`Successfully pulled image "a" in 1s (2s including waiting). Image size: 3 bytes.`)
	f.Add(`Container image "a" already present on machine`)
	f.Fuzz(func(t *testing.T, message string) {
		i, ok := Parse(&corev1.Event{Reason: Reason, Message: message})
		if ok && (i.Waited < i.Took || i.Took < 0 || i.Bytes < 0 || i.Present && i.Took > 0) {
			t.Errorf("%q is %+v", message, i)
		}
	})
}
