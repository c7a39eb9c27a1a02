package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// metricsAddress is the chart's port.
const metricsAddress = "127.0.0.1:8080"

// fakeTaint keeps the shipped manager off the fake nodes.
var fakeTaint = corev1.Taint{Key: "kwok.x-k8s.io/node", Value: "fake", Effect: corev1.TaintEffectNoSchedule}

// install applies the shipped chart, whose Deployment finds no node that it tolerates, and runs the manager here
// instead, as its ServiceAccount and behind its Service: so no kubelet takes part in what is measured.
func (b *bench) install(ctx context.Context, fakes cluster.FakeNodes, settings ...string) error {
	fakes.Prefix, fakes.Taints = "fake-", []corev1.Taint{fakeTaint}
	if err := b.AddFakeNodes(ctx, fakes); err != nil {
		return err
	}
	if err := lab.Install(ctx, b.Cluster, "bench.invalid", append(settings, "--wait=hookOnly")...); err != nil {
		return err
	}
	if err := b.endpoint(ctx); err != nil {
		return fmt.Errorf("putting the manager behind its Service: %w", err)
	}
	if err := b.runManager(ctx); err != nil {
		return fmt.Errorf("running the manager: %w", err)
	}
	return nil
}

// endpoint adds this machine to those that serve the webhook.
func (b *bench) endpoint(ctx context.Context) error {
	service, err := b.Client().CoreV1().Services(system).Get(ctx, system, metav1.GetOptions{})
	if err != nil {
		return err
	}
	port := int32(9443)
	_, err = b.Client().DiscoveryV1().EndpointSlices(system).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "bench", Labels: map[string]string{discoveryv1.LabelServiceName: system, discoveryv1.LabelManagedBy: "bench"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{b.HostIP()}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &service.Spec.Ports[0].Name, Port: &port}},
	}, metav1.CreateOptions{})
	return err
}

func (b *bench) runManager(ctx context.Context) error {
	dir := filepath.Join(b.Dir(), "manager")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+"/kube-prepull", "./cmd/kube-prepull")
	build.Dir, build.Env = lab.Source("."), gocommand.Env()
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	configuration, err := b.Client().CoreV1().ConfigMaps(system).Get(ctx, system, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/config.yaml", []byte(configuration.Data["config.yaml"]), 0o644); err != nil {
		return err
	}
	if err := b.kubeconfig(ctx, dir+"/kubeconfig"); err != nil {
		return err
	}
	return b.startManager(ctx, "manager")
}

// startManager starts what runManager has made ready, with a log of a name.
func (b *bench) startManager(ctx context.Context, name string) error {
	dir := filepath.Join(b.Dir(), "manager")
	err := b.Run(ctx, cluster.Process{
		Name: name, Path: dir + "/kube-prepull", Env: []string{"GOMEMLIMIT=256MiB", "GOGC=100"}, // as in a pod of the chart
		Args: []string{"--config=" + dir + "/config.yaml", "--kubeconfig=" + dir + "/kubeconfig", "--namespace=" + system},
	})
	if err != nil {
		return err
	}
	return b.waitPublished(ctx)
}

// stopManager ends it, and returns when it has gone.
func (b *bench) stopManager(ctx context.Context) error {
	programs, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	for _, link := range programs {
		if path, _ := os.Readlink(link); path != filepath.Join(b.Dir(), "manager", "kube-prepull") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return fmt.Errorf("ending the manager: %w", err)
		}
		return b.poll(ctx, "the manager to end", time.Minute, func() (bool, error) {
			_, err := os.Readlink(link)
			return err != nil, nil
		})
	}
	return errors.New("no manager runs")
}

// kubeconfig acts as the manager's ServiceAccount.
func (b *bench) kubeconfig(ctx context.Context, path string) error {
	hours := int64(4 * 3600)
	token, err := b.Client().CoreV1().ServiceAccounts(system).CreateToken(ctx, system,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hours}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	admin, err := clientcmd.LoadFromFile(b.Kubeconfig())
	if err != nil {
		return err
	}
	for name := range admin.AuthInfos {
		admin.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	return clientcmd.WriteToFile(*admin, path)
}

// waitPublished returns when the manager serves and the API server trusts it.
func (b *bench) waitPublished(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		configuration, err := b.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, system, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(configuration.Webhooks) == 0 || len(configuration.Webhooks[0].ClientConfig.CABundle) == 0 {
			continue
		}
		if conn, err := net.Dial("tcp", net.JoinHostPort(b.HostIP(), strconv.Itoa(9443))); err == nil {
			return conn.Close()
		}
	}
	return errors.New("it does not serve after a minute; the end of its log:\n" + b.Log("manager"))
}
