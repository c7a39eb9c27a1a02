package place

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestABudgetInBytes has room for one of two images of two namespaces, and leaves one out that is excluded. What is left
// out is never pulled: its size is the registry's word.
func TestABudgetInBytes(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.maxBytesPerNode=60Mi", "--set", "config.exclude={*:debug}")}
	p.Namespace(t, "shop", true)
	first := p.Push(t, "shop/first:v1", images.Image{Size: 40 << 20, Seed: 601})
	second := p.Push(t, "shop/second:v1", images.Image{Size: 41 << 20, Seed: 602})
	huge := p.Push(t, "shop/huge:v1", images.Image{Size: 70 << 20, Seed: 603})
	debug := p.Push(t, "shop/first:debug", images.Image{Seed: 604})
	p.Deploy(t, "shop", lab.Deployment("first", first, 0))
	p.WaitState(t, first, "Ready")
	p.Deploy(t, "shop", lab.Deployment("second", second, 0))
	p.Deploy(t, "shop", lab.Deployment("huge", huge, 0))
	p.Deploy(t, "shop", lab.Deployment("debug", debug, 0))
	for image, want := range map[string]struct{ state, words, size string }{
		second: {"Skipped: OverBudget", "The images of a node take 63 MB at most (maxBytesPerNode)", "MB"},
		huge:   {"Skipped: OverBudget", "and this one alone takes", "MB"},
		debug:  {"Skipped: Excluded", "matches the pattern *:debug (exclude)", ""},
	} {
		lab.Eventually(t, image+" to be "+want.state, func() error {
			object := p.PrepullImage(t, image)
			if object == nil {
				return errors.New("it is not known")
			}
			state, size := lab.Field(object, "status", "state"), lab.Field(object, "status", "size")
			_, _, message := lab.Condition(object, "Selected")
			if state != want.state || !strings.Contains(message, want.words) || !strings.Contains(size, want.size) {
				return fmt.Errorf("it is %q with the size %q: %s", state, size, message)
			}
			return nil
		})
	}
	for _, repository := range []string{"shop/second", "shop/huge"} {
		if counts := p.Registry.Counts(repository); counts.BlobGets > 0 {
			t.Errorf("%d blobs of %s were pulled", counts.BlobGets, repository)
		}
	}
}
