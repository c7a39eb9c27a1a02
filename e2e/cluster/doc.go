// Package cluster runs a real Kubernetes on one machine: etcd and the control plane as plain processes, and nodes, each
// a kubelet, a containerd and a kube-proxy in a network, mount and process namespace of their own. Everything is built
// from Go modules that this module pins; only runc, nft and the CNI plugins come from the distribution.
//
// A supervisor process owns the cluster. What it starts dies with it, and it dies with its owner unless the cluster is
// detached, so nothing is left behind after a kill: a node's processes, mounts, interfaces and nftables rules are all
// held by its namespaces. Folders and cgroups, which the kernel does not clean up, are removed by the supervisor, or by
// Down where even that was killed.
package cluster
