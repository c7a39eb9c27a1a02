package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// What is asked of the API server for /metrics, so that no flood of forged tokens becomes a flood of requests to it.
const (
	// A token that was let in is good for a minute, a few scrapes; who was not may have been given the right by now.
	knownAllowed = time.Minute
	knownRefused = 10 * time.Second

	// At this rate no answer is pushed out of maxKnown before its time.
	questionRate  = 10
	questionBurst = 20
	maxKnown      = 1024

	// One address has a part of them, so that it takes about ten to keep out others. Scrapers need one a minute.
	addressRate  = 1
	addressBurst = 10
	addressTime  = time.Minute // then it begins anew

	maxQuestions   = 8 // at a time
	questionTime   = 5 * time.Second
	maxTokenLength = 16 << 10
)

// token68 is what a bearer token consists of.
var token68 = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// addMetricsServer makes the manager serve /metrics as the configuration says.
func addMetricsServer(mgr ctrl.Manager, c *v1alpha1.Configuration, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	if c.MetricsAddress == v1alpha1.MetricsOff {
		return nil
	}
	plain, err := listenFairly(c.MetricsAddress, maxScrapeConnections)
	if err != nil {
		return err
	}
	var listener net.Listener = plain
	handler := promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
	if c.MetricsAuthentication {
		ask, err := askAPIServer(mgr.GetConfig(), mgr.GetHTTPClient())
		if err != nil {
			return err
		}
		handler = newMetricsGuard(ask, mgr.GetLogger().WithName("metrics"), handler)
		listener = secured(plain, certificate)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", handler)
	return addServer(mgr, "metrics", listener, mux)
}

// metricsGuard lets through to what it guards who may get that.
type metricsGuard struct {
	// ask says whether a token's owner may get a path: 200, 401 if the token is nobody's, or 403.
	ask       func(ctx context.Context, token, path string) (status int, err error)
	log       logr.Logger
	next      http.Handler
	known     *cache.LRUExpireCache // statuses by hash of the token
	addresses *cache.LRUExpireCache // rate.Limiters by address
	questions *rate.Limiter
	slots     *semaphore.Weighted
	complain  rate.Sometimes
}

func newMetricsGuard(ask func(ctx context.Context, token, path string) (int, error), log logr.Logger, next http.Handler) *metricsGuard {
	return &metricsGuard{
		ask: ask, log: log, next: next,
		known:     cache.NewLRUExpireCache(maxKnown),
		addresses: cache.NewLRUExpireCache(maxKnown),
		questions: rate.NewLimiter(questionRate, questionBurst),
		slots:     semaphore.NewWeighted(maxQuestions),
		complain:  rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
}

func (g *metricsGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch status := g.status(r); status {
	case http.StatusOK:
		g.next.ServeHTTP(w, r)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "only GET", status)
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a bearer token is needed that the API server accepts", status)
	case http.StatusForbidden:
		http.Error(w, "the owner of the token may not get this: it takes a role such as "+v1alpha1.Name+"-metrics-reader", status)
	case http.StatusServiceUnavailable:
		http.Error(w, "too many tokens that are not known yet: try again", status)
	default:
		http.Error(w, "the API server could not be asked", status)
	}
}

// status is what a request is answered with, if not with what it asks for.
func (g *metricsGuard) status(r *http.Request) int {
	if r.Method != http.MethodGet {
		return http.StatusMethodNotAllowed
	}
	token := bearerToken(r.Header.Get("Authorization"))
	if token == "" {
		return http.StatusUnauthorized
	}
	key := sha256.Sum256([]byte(r.URL.Path + " " + token))
	if status, ok := g.known.Get(key); ok {
		return status.(int)
	}
	if !g.limiter(hostOf(r.RemoteAddr)).Allow() || !g.slots.TryAcquire(1) {
		return http.StatusServiceUnavailable
	}
	defer g.slots.Release(1)
	if !g.questions.Allow() {
		return http.StatusServiceUnavailable
	}
	ctx, cancel := context.WithTimeout(r.Context(), questionTime)
	defer cancel()
	status, err := g.ask(ctx, token, r.URL.Path)
	if err != nil {
		// Whatever stands between us and the API server may quote the request.
		err := errors.New(strings.ReplaceAll(err.Error(), token, "<token>"))
		g.complain.Do(func() { g.log.Error(err, "metrics were not served") })
		return http.StatusInternalServerError
	}
	if status == http.StatusOK {
		g.known.Add(key, status, knownAllowed)
	} else {
		g.known.Add(key, status, knownRefused)
	}
	return status
}

// limiter limits what one address asks for.
func (g *metricsGuard) limiter(address string) *rate.Limiter {
	if limiter, ok := g.addresses.Get(address); ok {
		return limiter.(*rate.Limiter)
	}
	limiter := rate.NewLimiter(addressRate, addressBurst)
	g.addresses.Add(address, limiter, addressTime)
	return limiter
}

// bearerToken is the token of an Authorization header, empty if there is none.
func bearerToken(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || len(token) > maxTokenLength || !token68.MatchString(token) {
		return ""
	}
	return token
}

// askAPIServer has the API server say who a token belongs to, and whether they may get a path.
func askAPIServer(config *rest.Config, client *http.Client) (func(ctx context.Context, token, path string) (int, error), error) {
	authentication, err := authenticationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("making the client for tokens: %w", err)
	}
	authorization, err := authorizationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("making the client for permissions: %w", err)
	}
	return func(ctx context.Context, token, path string) (int, error) {
		who, err := authentication.TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return 0, fmt.Errorf("asking whose token it is: %w", err)
		}
		if !who.Status.Authenticated {
			return http.StatusUnauthorized, nil
		}
		may, err := authorization.SubjectAccessReviews().Create(ctx, accessReview(who.Status.User, path), metav1.CreateOptions{})
		if err != nil {
			return 0, fmt.Errorf("asking what the token's owner may do: %w", err)
		}
		if !may.Status.Allowed {
			return http.StatusForbidden, nil
		}
		return http.StatusOK, nil
	}, nil
}

// accessReview asks whether a user may get a path.
func accessReview(user authenticationv1.UserInfo, path string) *authorizationv1.SubjectAccessReview {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	return &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
	}}
}
