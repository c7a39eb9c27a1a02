package abuse

import (
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
