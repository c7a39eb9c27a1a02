package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// pauseImage is the sandbox of every pod. It is loaded into each node's containerd and never pulled.
const pauseImage = "pause.invalid/pause:1"

// writeNodeConfig writes the configuration files of a node's programs on its disk, as they see it: below /var.
func writeNodeConfig(spec *nodeSpec) error {
	files := map[string]string{
		"var/lib/containerd/config.toml":  containerdConfig(spec),
		"var/lib/cni/net.d/bridge.conf":   cniConfig(spec),
		"var/lib/kubelet/config.yaml":     toJSON(kubeletConfig(spec)), // JSON is YAML
		"var/lib/kubelet/kube-proxy.yaml": toJSON(kubeProxyConfig(spec)),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(spec.Dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func toJSON(v any) string {
	content, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // maps of plain values
	}
	return string(content)
}

func containerdConfig(spec *nodeSpec) string {
	return fmt.Sprintf(`version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
# It would make /opt/containerd on the host.
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images']
# A tenth of the default: tests wait for it.
image_pull_progress_timeout = "30s"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %q
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "/var/lib/kube-prepull/registries"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = %t
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [%q]
conf_dir = "/var/lib/cni/net.d"
`, pauseImage, !hasSysResource(), spec.CNI)
}

// hasSysResource is false in containers that may not lower a process' OOM score; sandboxes then fail to start.
func hasSysResource() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func cniConfig(spec *nodeSpec) string {
	return toJSON(map[string]any{
		"cniVersion": "1.0.0", "name": "pods", "type": "bridge", "bridge": "cni0",
		"isGateway": true, "hairpinMode": true,
		"ipam": map[string]any{
			"type": "host-local", "dataDir": "/run/cni-networks",
			"ranges": [][]map[string]any{{{"subnet": spec.PodCIDR}}},
			"routes": []map[string]any{{"dst": "0.0.0.0/0"}},
		},
	})
}

func kubeletConfig(spec *nodeSpec) map[string]any {
	config := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": "/var/lib/kubelet/ca.crt"},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/" + spec.Cgroup,
		"failSwapOn":               false,
		"enforceNodeAllocatable":   []string{},
		"evictionHard":             map[string]any{"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
		"resolvConf":               "",
		"clusterDomain":            "cluster.local",
		"clusterDNS":               []string{clusterDNSAddress(spec.Slot)},
		"volumePluginDir":          "/var/lib/kubelet/volume-plugins",
		"registerWithTaints":       spec.Node.Taints,
		"logging":                  map[string]any{"verbosity": 2},
	}
	if spec.Minor >= 31 { // before, the kubelet did not mind
		config["failCgroupV1"] = false
	}
	maps.Copy(config, spec.Kubelet)
	maps.Copy(config, spec.Node.Kubelet)
	return config
}

func kubeletArgs(spec *nodeSpec) []string {
	args := []string{
		"--config=/var/lib/kubelet/config.yaml", "--kubeconfig=/var/lib/kubelet/" + spec.Node.Name + ".kubeconfig",
		"--hostname-override=" + spec.Node.Name, "--node-ip=" + spec.IP,
	}
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(spec.Node.Labels)) {
		labels = append(labels, key+"="+spec.Node.Labels[key])
	}
	return append(args, "--node-labels="+strings.Join(labels, ","))
}

func kubeProxyConfig(spec *nodeSpec) map[string]any {
	config := map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode":             "nftables",
		"clientConnection": map[string]any{"kubeconfig": "/var/lib/kubelet/kube-proxy.kubeconfig"},
		"clusterCIDR":      clusterCIDR(spec.Slot),
		"hostnameOverride": spec.Node.Name,
		// Connection tracking is sized for the whole host: not a node's business here.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
	if spec.Minor < 31 { // alpha
		config["featureGates"] = map[string]any{"NFTablesProxyMode": true}
	}
	return config
}
