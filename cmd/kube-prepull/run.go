package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/api/scc"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/certs"
	"github.com/kube-prepull/kube-prepull/prepull"
	"github.com/kube-prepull/kube-prepull/prepull/learn"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/webhook"
	"github.com/kube-prepull/kube-prepull/webhook/digest"
)

const (
	// A thousand images learned in a burst are a thousand writes in seconds; the API server's own fairness is the limit.
	clientQPS   = 200
	clientBurst = 400

	// shutdownTime is what is left for requests and reconciliations in flight when a manager goes. With lameduckStay before
	// it, it is below the 30 seconds after which a pod is killed.
	shutdownTime = 10 * time.Second
)

// Who loses the lease ends, and has everything to read again: on a node that is short of processors, that is what it has no
// time for. So the lease outlasts renewDeadline without a processor. A leader that was killed is replaced after leaseDuration
// and at most two retries, sooner than Kubernetes takes its node for lost, which is after 40 seconds.
var (
	leaseDuration = 30 * time.Second
	renewDeadline = 20 * time.Second
)

// run is the manager, from its configuration to the end of ctx, with its clocks so many times as fast as in production.
func run(ctx context.Context, o options, speed int) error {
	clocks := clock.Production().Faster(speed)
	configuration, err := readConfiguration(o.config)
	if err != nil {
		return err
	}
	setLogger(configuration.LogLevel)

	probed, err := listenFairly(configuration.HealthAddress, maxProbeConnections)
	if err != nil {
		return err
	}
	health := newHealth()
	stop := health.serve(probed)
	defer stop()
	certificate := certs.NewSource(certificateOptions(configuration, o.namespace, clocks))
	reviews, err := listenFairly(net.JoinHostPort("", strconv.Itoa(configuration.WebhookPort)), maxReviewConnections)
	if err != nil {
		return err
	}
	apart, err := newSkew(ctrl.Log.WithName("clock"), metrics.Registry)
	if err != nil {
		return err
	}
	mgr, err := newManager(configuration, o.namespace, clocks, apart)
	if err != nil {
		return err
	}
	if err := checkPermissions(ctx, mgr.GetClient(), o.namespace, permissionsFor(configuration)); err != nil {
		return err
	}
	if err := certificate.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("setting up certs: %w", err)
	}
	registries := digest.New(registryOptions(configuration))
	planned := prepullOptions(configuration, o.namespace, registries, clocks, apart.off, func() bool { return ctx.Err() != nil })
	if planned.AssignedUser, err = scc.AssignUsers(mgr.GetRESTMapper()); err != nil {
		return err
	}
	learner, err := prepull.SetupWithManager(mgr, planned)
	if err != nil {
		return fmt.Errorf("setting up prepull: %w", err)
	}
	hook, err := webhook.SetupWithManager(mgr, webhookOptions(configuration, o.namespace, learner, registries, clocks))
	if err != nil {
		return fmt.Errorf("setting up webhook: %w", err)
	}
	health.readyIf(map[string]healthz.Checker{"certificate": certificate.Ready, "clock": apart.ready, "namespaces": hook.Ready, "webhook": reachable(configuration.WebhookPort)})
	if err := addServer(mgr, "webhook", secured(reviews, certificate.GetCertificate), lastAnswers(ctx, hook)); err != nil {
		return err
	}
	if err := addMetricsServer(mgr, configuration, certificate.GetCertificate); err != nil {
		return err
	}
	ctrl.Log.Info("starting", "version", build(version, speed), "namespace", o.namespace)
	return mgr.Start(lameduck(ctx, lameduckStay, reviews.uses))
}

func readConfiguration(path string) (*v1alpha1.Configuration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return v1alpha1.ParseConfiguration(data)
}

// setLogger sends all logs, those of the libraries too, to stderr as JSON.
func setLogger(level string) {
	threshold := slog.LevelInfo
	if level == "debug" {
		threshold = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: threshold}))
	slog.SetDefault(log) // net/http has its say through it
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetSlogLogger(log)
}

func newManager(c *v1alpha1.Configuration, namespace string, clocks clock.Clocks, s *skew) (ctrl.Manager, error) {
	kube, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	kube.QPS, kube.Burst = clientQPS, clientBurst
	kube.Wrap(s.watch)
	kube.Wrap(pages.Bound)
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	caches := prepull.CacheOptions(namespace)
	maps.Copy(caches.ByObject, certs.CacheObjects(namespace))
	graceful := shutdownTime
	mgr, err := ctrl.NewManager(kube, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         caches,
		Metrics:                       metricsserver.Options{BindAddress: "0"}, // served fairly by addMetricsServer
		LeaderElection:                true,
		LeaderElectionID:              v1alpha1.Name,
		LeaderElectionNamespace:       namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &leaseDuration,
		RenewDeadline:                 &renewDeadline,
		RetryPeriod:                   &clocks.LeaseRetry,
		GracefulShutdownTimeout:       &graceful,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the manager: %w", err)
	}
	return mgr, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), certs.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	return scheme, nil
}

func certificateOptions(c *v1alpha1.Configuration, namespace string, clocks clock.Clocks) certs.Options {
	return certs.Options{Namespace: namespace, Mode: c.Certificates, Directory: c.CertificateDirectory, Clocks: clocks}
}

func prepullOptions(c *v1alpha1.Configuration, namespace string, registries *digest.Registries, clocks clock.Clocks, clockOff, stopping func() bool) prepull.Options {
	minBytes := resource.MustParse(c.MinBytes) // a configuration is validated
	hotBytes := resource.MustParse(c.Gate.MaxBytes)
	return prepull.Options{
		Options: plan.Options{
			Namespace:          namespace,
			NoopImage:          c.NoopImage,
			NoopPullSecrets:    c.NoopPullSecrets,
			MaxImagesPerNode:   c.MaxImagesPerNode,
			MaxBytesPerNode:    c.MaxBytesPerNode,
			MinBytes:           minBytes.Value(),
			Exclude:            c.Exclude,
			MaxNodeClasses:     c.MaxNodeClasses,
			MaxConcurrentNodes: c.MaxConcurrentNodes,
			PullsPerNode:       c.PullsPerNode,
			ImageVolumes:       c.ImageVolumes,
			PullDeadline:       c.PullDeadline.Duration,
			NodeCondition:      c.NodeCondition,
			HostNetwork:        c.HostNetwork,
			PriorityClassName:  c.PriorityClassName,
			Mirror:             plan.Mirror{Namespace: c.Mirror.Namespace, PodSelector: c.Mirror.PodSelector, Deadline: c.Mirror.Deadline.Duration},
			Gate: plan.Gate{
				Enabled:  c.Gate.Enabled,
				TaintKey: c.Gate.TaintKey,
				Deadline: c.Gate.Deadline.Duration,
				MaxBytes: hotBytes.Value(),
			},
		},
		PullSecrets:       c.PullSecrets,
		LearnFromPods:     c.LearnFrom == v1alpha1.LearnFromPods,
		ResyncInterval:    c.ResyncInterval.Duration,
		Retention:         c.Retention.Duration,
		RollbackRetention: c.RollbackRetention.Duration,
		RefreshInterval:   c.RefreshInterval.Duration,
		Registries:        questions(registries),
		Clocks:            clocks,
		ClockOff:          clockOff,
		Stopping:          stopping,
	}
}

func webhookOptions(c *v1alpha1.Configuration, namespace string, learner *learn.Learner, registries *digest.Registries, clocks clock.Clocks) webhook.Options {
	return webhook.Options{
		Namespace:     namespace,
		Learn:         learner.Hint,
		Registries:    registries,
		PullSecrets:   c.PullSecrets,
		IfNotPresent:  c.RewritePullPolicy,
		Configuration: certs.WebhookConfigurationName,
		ProbeImage:    c.NoopImage,
		AuditInterval: c.ResyncInterval.Duration,
		Clocks:        clocks,
	}
}

func registryOptions(c *v1alpha1.Configuration) digest.Options {
	hosts := map[string]digest.Host{}
	for _, r := range c.Registries {
		hosts[r.Host] = digest.Host{PlainHTTP: r.PlainHTTP, CA: r.CA}
	}
	return digest.Options{Hosts: hosts}
}

// questions let package prepull ask through package digest, which it does not know.
func questions(registries *digest.Registries) prepull.Registries {
	return prepull.Registries{
		Look: func(ctx context.Context, image, arch string, auths [][]byte) (string, int64, error) {
			m, err := registries.Look(ctx, image, arch, auths)
			return m.Digest, m.Bytes, err
		},
		Digest: registries.Digest,
	}
}
