package webhook

import (
	"runtime"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

// amplified is how much memory a value of JSON takes at most, garbage included: lists grow to twice what is in them.
const amplified = 2 << 10

// allocated is how many bytes are allocated meanwhile, by everybody.
func allocated(do func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// hostileTemplates are small and want to become large.
func hostileTemplates(size int) []string {
	var all []string
	for _, list := range []string{"containers", "initContainers", "volumes", "tolerations", "hostAliases", "topologySpreadConstraints"} {
		for _, element := range []string{"{}", "0", "null", "[]"} {
			all = append(all, `{"spec":{"template":{"spec":{"`+list+`":[`+strings.TrimSuffix(strings.Repeat(element+",", size/(len(element)+1)), ",")+`]}}}}`)
		}
	}
	return all
}

// Not parallel: it measures memory.
func TestNoRevisionBecomesLarge(t *testing.T) {
	const most = 64 << 20
	for _, raw := range hostileTemplates(1 << 20) {
		shown := raw[:60]
		owned := metav1.ObjectMeta{Name: "r", OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", UID: "u", Controller: new(bool)}}}
		revision := appsv1.ControllerRevision{ObjectMeta: owned}
		revision.Data.Raw = []byte(raw)
		r := revisions{&stored{revision: []appsv1.ControllerRevision{revision}}}
		took := allocated(func() {
			if found, err := r.of(t.Context(), "StatefulSet", "shop", &pins.Object{Selector: &metav1.LabelSelector{}}); err == nil {
				t.Errorf("%s: %d revisions are read", shown, len(found))
			}
		})
		template := []byte(strings.TrimSuffix(strings.TrimPrefix(raw, `{"spec":{"template":`), "}}"))
		took += allocated(func() {
			if _, err := (earlier{}).have(&pins.Template{Raw: template}); err == nil {
				t.Errorf("%s: it is compared", shown)
			}
		})
		if took > most {
			t.Errorf("%s: it takes %d MiB", shown, took>>20)
		}
	}
}

// FuzzRevision reads what anybody may store as a ControllerRevision.
func FuzzRevision(f *testing.F) {
	for _, raw := range hostileTemplates(1 << 10) {
		f.Add([]byte(raw))
	}
	f.Add([]byte(`{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"a"}]}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if took := allocated(func() { templateIn(raw) }); took > amplified*values(raw)+16*len(raw)+1<<20 {
			t.Errorf("%d bytes with %d values take %d", len(raw), values(raw), took)
		}
	})
}
