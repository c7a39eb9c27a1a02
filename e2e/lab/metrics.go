package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// scraper is the ServiceAccount, in namespace default, that reads metrics.
const scraper = "metrics-scraper"

// ScrapeToken is a token for the metrics of managers, of somebody who has the chart's role for that and no other.
func ScrapeToken(ctx context.Context, c *cluster.Cluster) (string, error) {
	meta := metav1.ObjectMeta{Name: scraper}
	accounts := c.Client().CoreV1().ServiceAccounts(metav1.NamespaceDefault)
	if _, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	_, err := c.Client().RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kube-prepull-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceDefault, Name: scraper}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	if err := waitAllowed(ctx, c); err != nil {
		return "", err
	}
	hours := int64(4 * 3600)
	token, err := accounts.CreateToken(ctx, scraper, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hours}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return token.Status.Token, nil
}

// waitAllowed returns when the API server has heard of the binding: a manager remembers for a while who may not.
func waitAllowed(ctx context.Context, c *cluster.Cluster) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		review, err := c.Client().AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:                  "system:serviceaccount:" + metav1.NamespaceDefault + ":" + scraper,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		}}, metav1.CreateOptions{})
		if err != nil || review.Status.Allowed {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s may not get /metrics: %s", scraper, review.Status.Reason)
		}
	}
}

// Scrape asks a manager at an address, host:port, for its metrics, and verifies its certificate against some CAs. An empty
// token is none.
func Scrape(ctx context.Context, address, token string, cas []byte) (status int, body []byte, err error) {
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(cas)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: trusted, ServerName: "kube-prepull.kube-prepull.svc"},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// Metrics are those of a manager, verified with the CAs that the API server trusts, wherever certificates come from.
func Metrics(ctx context.Context, c *cluster.Cluster, address, token string) ([]byte, error) {
	config, err := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "kube-prepull", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	status, body, err := Scrape(ctx, address, token, config.Webhooks[0].ClientConfig.CABundle)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answers %d: %s", address, status, body)
	}
	return body, err
}

// Metric is the sum of the series whose text begins with some words, as a manager serves them.
func Metric(ctx context.Context, c *cluster.Cluster, address, token, series string) (float64, error) {
	body, err := Metrics(ctx, c, address, token)
	if err != nil {
		return 0, err
	}
	return SumOfSeries(body, series)
}

// SumOfSeries is the sum of those series of served metrics whose text begins with some words.
func SumOfSeries(body []byte, series string) (float64, error) {
	sum := 0.0
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), series) {
			continue
		}
		value, err := strconv.ParseFloat(lines.Text()[strings.LastIndex(lines.Text(), " ")+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += value
	}
	return sum, lines.Err()
}
