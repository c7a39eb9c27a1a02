package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// serviceCIDR and the network of nodes and pods follow from the slot: 10.128+slot.0.0/16 holds nodes (in .0.x) and pods
// (in .<node>.x), 10.192+slot.0.0/20 the Services.
func hostIP(slot int) string            { return fmt.Sprintf("10.%d.0.1", 128+slot) }
func routerIP(slot int) string          { return fmt.Sprintf("10.%d.0.2", 128+slot) }
func nodeIP(slot, index int) string     { return fmt.Sprintf("10.%d.0.%d", 128+slot, 10+index) }
func podCIDR(slot, index int) string    { return fmt.Sprintf("10.%d.%d.0/24", 128+slot, index) }
func clusterCIDR(slot int) string       { return fmt.Sprintf("10.%d.0.0/16", 128+slot) }
func serviceCIDR(slot int) string       { return fmt.Sprintf("10.%d.0.0/20", 192+slot) }
func firstServiceIP(slot int) string    { return fmt.Sprintf("10.%d.0.1", 192+slot) }
func clusterDNSAddress(slot int) string { return fmt.Sprintf("10.%d.0.10", 192+slot) }

// slots is how many clusters with nodes one machine can tell apart.
const slots = 64

// firstController is the first process of the control plane that needs the API server.
const firstController = 2

// unneededControllers have nothing to do here, and burn time all the same: they watch, and some of them poll.
var unneededControllers = []string{
	// No volume outlives its pod.
	"persistentvolume-attach-detach-controller", "persistentvolume-binder-controller", "persistentvolume-expander-controller",
	"persistentvolume-protection-controller", "persistentvolumeclaim-protection-controller",
	"volumeattributesclass-protection-controller", "ephemeral-volume-controller",
	// Nobody asks for certificates: the cluster's own are issued before it starts.
	"certificatesigningrequest-approving-controller", "certificatesigningrequest-cleaner-controller",
	"certificatesigningrequest-signing-controller", "podcertificaterequest-cleaner-controller",
	// Nobody claims devices.
	"device-taint-eviction-controller", "resourceclaim-controller", "resourcepoolstatusrequest-controller",
	// Nothing mirrors Endpoints: EndpointSlices took their place.
	"endpointslice-mirroring-controller",
	// Nothing was stored by an older Kubernetes.
	"legacy-serviceaccount-token-cleaner-controller", "storage-version-migrator-controller", "storageversion-garbage-collector-controller",
	// There are no metrics to scale by.
	"horizontal-pod-autoscaler-controller",
	// Deployments took their place.
	"replicationcontroller-controller",
}

// unneeded are the controllers that have nothing to do in a cluster of some version of Kubernetes. API servers of old ones look for
// webhooks in Endpoints; those of today are known to look in EndpointSlices.
func unneeded(minor int) []string {
	if minor < 37 {
		return unneededControllers
	}
	return append(slices.Clone(unneededControllers), "endpoints-controller")
}

// controlPlane returns the processes of the control plane, in the order in which they start.
func controlPlane(ctx context.Context, s *state, authority *pki, ports *portClaims) ([]Process, error) {
	controllers, err := allBut(ctx, s.program("kube-controller-manager"), unneeded(s.Minor))
	if err != nil {
		return nil, err
	}
	local, err := ports.claim("127.0.0.1", 4)
	if err != nil {
		return nil, err
	}
	public, err := ports.claim(s.HostIP, 1)
	if err != nil {
		return nil, err
	}
	s.Etcd = fmt.Sprintf("http://127.0.0.1:%d", local[0])
	etcdPeer := fmt.Sprintf("http://127.0.0.1:%d", local[1])
	s.APIServer = fmt.Sprintf("https://%s:%d", s.HostIP, public[0])
	if err := credentials(s, authority); err != nil {
		return nil, fmt.Errorf("issuing certificates: %w", err)
	}
	processes := []Process{
		{Name: "etcd", Path: s.program("etcd"), Args: []string{
			"--name=etcd", "--data-dir=" + s.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=" + s.Etcd, "--advertise-client-urls=" + s.Etcd,
			"--listen-peer-urls=" + etcdPeer, "--initial-advertise-peer-urls=" + etcdPeer, "--initial-cluster=etcd=" + etcdPeer,
		}},
		{Name: "kube-apiserver", Path: s.program("kube-apiserver"), Args: apiServerArgs(s, authority, public[0])},
		{Name: "kube-controller-manager", Path: s.program("kube-controller-manager"), Args: []string{
			"--kubeconfig=" + s.path("kube-controller-manager.kubeconfig"), "--leader-elect=false", "--use-service-account-credentials",
			"--controllers=" + controllers,
			"--kube-api-qps=500", "--kube-api-burst=1000", // its own limit of 20 would be what a burst of workloads measures
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", local[2]), "--cert-dir=" + s.path("pki"),
			"--service-account-private-key-file=" + authority.keyFile("service-accounts"), "--root-ca-file=" + authority.crt("ca"),
			"--cluster-signing-cert-file=" + authority.crt("ca"), "--cluster-signing-key-file=" + authority.keyFile("ca"),
		}},
		{Name: "kube-scheduler", Path: s.program("kube-scheduler"), Args: []string{
			"--kubeconfig=" + s.path("kube-scheduler.kubeconfig"), "--leader-elect=false",
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", local[3]), "--cert-dir=" + s.path("pki"),
		}},
	}
	for i, p := range processes {
		processes[i] = s.sized(p)
	}
	return processes, nil
}

func credentials(s *state, authority *pki) error {
	if err := authority.issue("apiserver", "kube-apiserver", nil, []string{
		"localhost", "127.0.0.1", s.HostIP, firstServiceIP(s.Slot),
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}); err != nil {
		return err
	}
	if err := authority.issue("apiserver-kubelet-client", "kube-apiserver", []string{"system:masters"}, nil); err != nil {
		return err
	}
	if err := authority.issue("service-accounts", "service-accounts", nil, nil); err != nil {
		return err
	}
	for _, c := range []struct{ file, user, group string }{
		{"kubeconfig", "kube-prepull-test-admin", "system:masters"},
		{"kube-controller-manager.kubeconfig", "system:kube-controller-manager", ""},
		{"kube-scheduler.kubeconfig", "system:kube-scheduler", ""},
		{"kube-proxy.kubeconfig", "system:kube-proxy", ""},
	} {
		var groups []string
		if c.group != "" {
			groups = []string{c.group}
		}
		if err := authority.kubeconfig(s.path(c.file), s.APIServer, c.user, groups...); err != nil {
			return err
		}
	}
	return nil
}

func apiServerArgs(s *state, authority *pki, port int) []string {
	args := []string{
		"--etcd-servers=" + s.Etcd,
		"--bind-address=" + s.HostIP, fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + authority.crt("apiserver"), "--tls-private-key-file=" + authority.keyFile("apiserver"),
		"--client-ca-file=" + authority.crt("ca"),
		"--kubelet-client-certificate=" + authority.crt("apiserver-kubelet-client"),
		"--kubelet-client-key=" + authority.keyFile("apiserver-kubelet-client"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + authority.keyFile("service-accounts"),
		"--service-account-key-file=" + authority.keyFile("service-accounts"),
		"--service-cluster-ip-range=" + serviceCIDR(s.Slot),
		"--authorization-mode=Node,RBAC", "--allow-privileged",
		"--enable-admission-plugins=" + strings.Join(append([]string{"NodeRestriction"}, s.Options.AdmissionPlugins...), ","),
		// Webhooks behind a Service are called at their pods' addresses: there is no kube-proxy on the API server's host.
		"--enable-aggregator-routing",
	}
	if s.Options.ControlPlaneOnly {
		// A loopback address cannot be the endpoint of the kubernetes Service.
		args = append(args, "--endpoint-reconciler-type=none")
	} else {
		args = append(args, "--advertise-address="+s.HostIP)
	}
	return append(args, s.Options.APIServerFlags...)
}

// waitReady returns when the API server serves, or when one of its processes has ended.
func waitReady(ctx context.Context, s *state, processes []*running) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig())
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ready := func(ctx context.Context) (bool, error) {
		for _, p := range processes {
			if err := p.failure(); err != nil {
				return false, err
			}
		}
		var code int
		client.RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&code)
		return code == http.StatusOK, nil
	}
	if err := poll(ctx, time.Minute, 50*time.Millisecond, ready); err != nil {
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the API server is not ready after a minute; the end of its log:\n%s", tailOf(s.path("logs", "kube-apiserver.log")))
		}
		return err
	}
	return nil
}

// poll asks every interval until done says true or an error, or until the time is over: context.DeadlineExceeded.
func poll(ctx context.Context, timeout, interval time.Duration, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		if ok, err := done(ctx); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
	}
}
