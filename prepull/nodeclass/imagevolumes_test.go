package nodeclass

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestMountsImages(t *testing.T) {
	t.Parallel()
	type versions struct{ kubelet, runtime string }
	able := versions{"v1.36.0", "containerd://2.1.0"}
	for name, test := range map[string]struct {
		nodes []versions
		want  bool
	}{
		"the first versions":                  {[]versions{able}, true},
		"CRI-O":                               {[]versions{{"v1.37.2", "cri-o://1.33.0"}}, true},
		"an older CRI-O":                      {[]versions{{"v1.37.2", "cri-o://1.32.9"}}, false},
		"words of a vendor":                   {[]versions{{"v1.36.3-eks-1a2b3c", "containerd://2.1.4+unknown"}}, true},
		"an older kubelet":                    {[]versions{{"v1.35.9", "containerd://2.1.0"}}, false},
		"an older runtime":                    {[]versions{{"v1.36.0", "containerd://1.7.27"}}, false},
		"another runtime":                     {[]versions{{"v1.36.0", "docker://28.0.0"}}, false},
		"no version":                          {[]versions{{"v1.36.0", "containerd://main"}}, false},
		"one node that cannot":                {[]versions{able, {"v1.35.0", "containerd://2.1.0"}}, false},
		"one node that has not said anything": {[]versions{able, {}}, true},
		"nobody has":                          {[]versions{{}}, false},
		"no nodes":                            {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Class{}
			for _, v := range test.nodes {
				c.Nodes = append(c.Nodes, &corev1.Node{Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: v.kubelet, ContainerRuntimeVersion: v.runtime}}})
			}
			if got := c.MountsImages(); got != test.want {
				t.Errorf("it is %v", got)
			}
		})
	}
}
