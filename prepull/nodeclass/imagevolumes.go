package nodeclass

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// firstKubelet is the first version whose kubelet mounts image volumes without a feature gate, and firstRuntimes are the
// first ones of runtimes that do (KEP-4639). Since no kubelet is newer than its API server, that knows them, too.
var (
	firstKubelet  = version.MustParseGeneric("1.36.0")
	firstRuntimes = map[string]*version.Version{
		"containerd": version.MustParseGeneric("2.1.0"),
		"cri-o":      version.MustParseGeneric("1.33.0"),
	}
)

// MountsImages tells whether all nodes of the class can mount image volumes, as far as they have said what they run; false if
// none has.
func (c *Class) MountsImages() bool {
	told := false
	for _, n := range c.Nodes {
		info := &n.Status.NodeInfo
		if info.KubeletVersion == "" && info.ContainerRuntimeVersion == "" {
			continue // its kubelet has not reported yet
		}
		if told = true; !mountsImages(info) {
			return false
		}
	}
	return told
}

// CannotMountImages tells whether a node has said that it cannot mount image volumes.
func CannotMountImages(n *corev1.Node) bool {
	info := &n.Status.NodeInfo
	return info.KubeletVersion != "" && !mountsImages(info)
}

func mountsImages(info *corev1.NodeSystemInfo) bool {
	runtime, running, _ := strings.Cut(info.ContainerRuntimeVersion, "://")
	first := firstRuntimes[runtime]
	return first != nil && atLeast(running, first) && atLeast(info.KubeletVersion, firstKubelet)
}

// atLeast compares numbers alone: vendors add words of their own behind them.
func atLeast(text string, first *version.Version) bool {
	v, err := version.ParseGeneric(text)
	return err == nil && v.AtLeast(first)
}
