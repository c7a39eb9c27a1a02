package gate

import (
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// product is kube-prepull on a cluster, with what only the tests of this package ask of it.
type product struct{ *lab.Product }
