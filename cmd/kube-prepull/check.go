package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/certs"
)

const (
	// checkTime is how long something may not answer yet: what was just installed takes a few seconds.
	checkTime = 10 * time.Second

	// replyTime is how long one answer may take.
	replyTime = 3 * time.Second
)

// checker asks what kube-prepull serves as others do: at the addresses of its Services, and trusting what API servers
// trust.
type checker struct {
	client    client.Client
	kube      *rest.Config
	config    *v1alpha1.Configuration
	namespace string
}

// check says whether the webhook and the metrics answer, from inside the cluster. Only managers that are ready are behind
// a Service.
func check(ctx context.Context, o options, stdout io.Writer) error {
	configuration, err := readConfiguration(o.config)
	if err != nil {
		return err
	}
	kube, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	c := checker{kube: kube, config: configuration, namespace: o.namespace}
	if c.client, err = client.New(kube, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("creating the client: %w", err)
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, time.Second, checkTime, true, func(ctx context.Context) (bool, error) {
		err := c.all(ctx)
		if last == nil || ctx.Err() == nil {
			last = err // the end of the time is no news
		}
		return err == nil, nil
	})
	if err != nil {
		return errors.Join(last, ctx.Err())
	}
	_, err = fmt.Fprintln(stdout, "the webhook and the metrics answer")
	return err
}

// all is one look at everything.
func (c *checker) all(ctx context.Context) error {
	var config admissionregistrationv1.MutatingWebhookConfiguration
	if err := c.client.Get(ctx, client.ObjectKey{Name: certs.WebhookConfigurationName}, &config); err != nil {
		return fmt.Errorf("getting the webhook configuration: %w", err)
	}
	if len(config.Webhooks) == 0 {
		return errors.New("the webhook configuration is empty")
	}
	for _, w := range config.Webhooks {
		if err := c.webhook(ctx, w.ClientConfig); err != nil {
			return fmt.Errorf("webhook %s: %w", w.Name, err)
		}
	}
	if err := c.metrics(ctx, config.Webhooks[0].ClientConfig.CABundle); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// webhook sends a review from which nothing follows, since a kind is missing in it.
func (c *checker) webhook(ctx context.Context, to admissionregistrationv1.WebhookClientConfig) error {
	if to.Service == nil || to.Service.Path == nil {
		return errors.New("no path: no leader has written it yet")
	}
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request:  &admissionv1.AdmissionRequest{UID: "check", Operation: admissionv1.Create, Namespace: c.namespace},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return fmt.Errorf("encoding the review: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.host()+*to.Service.Path, bytes.NewReader(body))
	if err != nil {
		return errors.New("the path is none")
	}
	request.Header.Set("Content-Type", "application/json")
	content, err := c.answer(request, to.Service.Name, to.CABundle)
	if err != nil {
		return err
	}
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(content, &answer); err != nil || answer.Response == nil || answer.Response.UID != "check" || !answer.Response.Allowed {
		return errors.New("what answers is no webhook of kube-prepull's")
	}
	return nil
}

func (c *checker) metrics(ctx context.Context, bundle []byte) error {
	if c.config.MetricsAddress == v1alpha1.MetricsOff {
		return nil
	}
	scheme := "http"
	if c.config.MetricsAuthentication {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+c.host()+"/metrics", nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	if c.config.MetricsAuthentication {
		request.Header.Set("Authorization", "Bearer "+c.kube.BearerToken)
	}
	content, err := c.answer(request, v1alpha1.Name+"-metrics", bundle)
	if err == nil && !bytes.Contains(content, []byte("\nkube_prepull_")) {
		err = errors.New("there are none of kube-prepull's")
	}
	return err
}

// host is whom the serving certificate is for, whichever Service is asked.
func (c *checker) host() string { return v1alpha1.Name + "." + c.namespace + ".svc" }

// answer sends a request to a Service, whatever DNS says.
func (c *checker) answer(request *http.Request, service string, bundle []byte) ([]byte, error) {
	var s corev1.Service
	if err := c.client.Get(request.Context(), client.ObjectKey{Namespace: c.namespace, Name: service}, &s); err != nil {
		return nil, fmt.Errorf("getting Service %s: %w", service, err)
	}
	if len(s.Spec.Ports) == 0 {
		return nil, fmt.Errorf("service %s has no port", service)
	}
	address := net.JoinHostPort(s.Spec.ClusterIP, strconv.Itoa(int(s.Spec.Ports[0].Port)))
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(bundle) && request.URL.Scheme == "https" {
		return nil, errors.New("no CA: nobody has written it yet")
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		TLSClientConfig:   &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}
	response, err := (&http.Client{Transport: transport, Timeout: replyTime}).Do(request)
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL: a path is a secret
	}
	if err != nil {
		return nil, fmt.Errorf("asking Service %s: %w", service, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 10<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of Service %s: %w", service, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking Service %s: %s", service, response.Status)
	}
	return content, nil
}
