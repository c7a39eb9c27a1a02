package cluster

// largeFlags are what programs are told in a cluster of thousands of nodes, after everything else. Leases of 40 seconds would be
// 500 writes a second for 5,000 nodes: they are long, and nodes that do not renew them are waited for.
var largeFlags = map[string][]string{
	"etcd":           {"--quota-backend-bytes=8589934592"},
	"kube-apiserver": {"--max-requests-inflight=3000", "--max-mutating-requests-inflight=1000"},
	// Its usual 20 calls a second are too few to change 5,000 pods; 100 is what Kubernetes' own tests with as many nodes give it.
	"kube-controller-manager": {"--node-monitor-grace-period=2h", "--kube-api-qps=100", "--kube-api-burst=100"},
	"kube-scheduler":          {"--kube-api-qps=500", "--kube-api-burst=1000"}, // its own limit of 50 is no cluster's of that size
	"kwok":                    {"--node-lease-duration-seconds=7200"},
}

// largeKWOK lets KWOK change 16 nodes and pods at a time, four times as many as usual; no flag does that, and where one number is
// said all have to be.
const largeKWOK = `
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options: {nodePlayStageParallelism: 16, podPlayStageParallelism: 16, nodeLeaseParallelism: 4, podsOnNodeSyncParallelism: 1}
`

// sized adds what a program is told for the size of the cluster. What lives in the heaps of a large one is more than the limit
// of small ones.
func (s *state) sized(p Process) Process {
	if s.Options.Large {
		p.Args = append(p.Args, largeFlags[p.Name]...)
		p.Env = append(p.Env, "GOMEMLIMIT=6GiB", "GOGC=100")
	}
	return p
}
