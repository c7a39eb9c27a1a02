package prepull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/credentials"
)

const (
	// refreshOwner of what the refresher writes.
	refreshOwner = client.FieldOwner("kube-prepull-refresh")

	// refreshBatch is how many questions the refresher asks each time that it looks for them.
	refreshBatch = 4

	// sizeRetry is when the size of an image is asked again that no registry told.
	sizeRetry = 10 * time.Minute
)

// Registries answer what images stand for. The auths are Docker configurations with credentials.
type Registries struct {
	// Look returns the digest and the compressed size of an image for linux and an architecture.
	Look func(ctx context.Context, image, arch string, auths [][]byte) (digest string, bytes int64, err error)

	// Digest returns where an image points.
	Digest func(ctx context.Context, image string, auths [][]byte) (string, error)
}

// refresher asks registries for the size of images that no node has yet, so that a budget in bytes knows them, and where
// the tags point that pods always pull. It runs on the leader. A registry that does not answer changes nothing.
type refresher struct {
	client      client.Client
	live        client.Reader
	registries  Registries
	namespace   string
	pace        time.Duration // of looking for questions
	interval    time.Duration
	pullSecrets bool
	log         logr.Logger
	complain    rate.Sometimes

	// asked is when a registry was last asked about an object, by its name.
	asked map[string]time.Time
}

func newRefresher(mgr ctrl.Manager, o Options) *refresher {
	return &refresher{
		client:      mgr.GetClient(),
		live:        mgr.GetAPIReader(),
		registries:  o.Registries,
		namespace:   o.Namespace,
		pace:        o.Clocks.RefreshPace,
		interval:    o.RefreshInterval,
		pullSecrets: o.PullSecrets,
		log:         mgr.GetLogger().WithName("refresher"),
		complain:    rate.Sometimes{First: 1, Interval: 10 * time.Second},
		asked:       map[string]time.Time{},
	}
}

// NeedLeaderElection is true: one replica is enough to ask.
func (r *refresher) NeedLeaderElection() bool { return true }

// Start asks until ctx ends.
func (r *refresher) Start(ctx context.Context) error {
	tick := time.NewTicker(r.pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.round(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.complain.Do(func() { r.log.Error(err, "asking registries failed") })
		}
	}
}

// round asks what is due, a few questions at a time.
func (r *refresher) round(ctx context.Context, now time.Time) error {
	var images v1alpha1.PrepullImageList
	if err := r.client.List(ctx, &images, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing PrepullImages: %w", err)
	}
	r.forget(images.Items)
	questions := dueQuestions(images.Items, r.asked, r.interval, now)
	if len(questions) == 0 {
		return nil
	}
	questions = questions[:min(refreshBatch, len(questions))]
	keys, err := r.keys(ctx, questions)
	if err != nil {
		return err
	}
	arch, err := r.architecture(ctx)
	if err != nil {
		return err
	}
	var asking sync.WaitGroup
	for _, q := range questions {
		r.asked[q.object.Name] = now
		asking.Go(func() {
			if err := r.ask(ctx, q, arch, keys); err != nil && ctx.Err() == nil {
				r.log.V(1).Info("a registry gives no answer", "image", q.object.Spec.Image, "why", err.Error())
			}
		})
	}
	asking.Wait()
	return nil
}

// forget drops the objects that are gone.
func (r *refresher) forget(images []v1alpha1.PrepullImage) {
	if len(r.asked) <= len(images) {
		return
	}
	there := map[string]bool{}
	for i := range images {
		there[images[i].Name] = true
	}
	maps.DeleteFunc(r.asked, func(name string, _ time.Time) bool { return !there[name] })
}

// keys are the contents of the copied pull secrets that questions need, by their sources. Of the others nothing stays in memory.
func (r *refresher) keys(ctx context.Context, questions []question) (map[v1alpha1.SecretReference][]byte, error) {
	needed := map[v1alpha1.SecretReference]bool{}
	for _, q := range questions {
		for _, ref := range secretsOf(q.object) {
			needed[ref] = true
		}
	}
	if !r.pullSecrets || len(needed) == 0 {
		return nil, nil
	}
	keys := map[v1alpha1.SecretReference][]byte{}
	options := client.ListOptions{Namespace: r.namespace, LabelSelector: labels.SelectorFromSet(v1alpha1.PrepullLabels())}
	err := pages.Each(ctx, r.live, func() client.ObjectList { return &corev1.SecretList{} }, options, func(o client.Object) {
		secret := o.(*corev1.Secret)
		if stored, ok := credentials.CopyOf(secret); ok && needed[stored.Source] {
			keys[stored.Source] = slices.Clone(secret.Data[corev1.DockerConfigJsonKey])
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading the copies of pull secrets: %w", err)
	}
	return keys, nil
}

// architecture is that of most nodes: the sizes of an image differ little from one to the other.
func (r *refresher) architecture(ctx context.Context) (string, error) {
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("listing nodes: %w", err)
	}
	return commonArchitecture(nodes.Items), nil
}

// ask puts one question and stores the answer. A panic must not end the leader, and the next one with the same answer.
func (r *refresher) ask(ctx context.Context, q question, arch string, keys map[v1alpha1.SecretReference][]byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error(fmt.Errorf("panic: %v", p), "asking a registry failed", "image", q.object.Spec.Image, "stack", string(debug.Stack()))
			err = errors.New("the question panicked")
		}
	}()
	var auths [][]byte
	for _, ref := range secretsOf(q.object) {
		if key := keys[ref]; key != nil {
			auths = append(auths, key)
		}
	}
	status := &q.object.Status
	next := answer{Digest: status.Digest, DownloadBytes: status.DownloadBytes}
	var digest string
	if q.size {
		digest, next.DownloadBytes, err = r.registries.Look(ctx, q.object.Spec.Image, arch, auths)
	} else {
		digest, err = r.registries.Digest(ctx, q.object.Spec.Image, auths)
	}
	if err != nil {
		return err
	}
	if q.digest {
		next.Digest = digest
	}
	if next == (answer{Digest: status.Digest, DownloadBytes: status.DownloadBytes}) {
		return nil
	}
	return r.store(ctx, q.object.Name, next)
}

// answer is the part of a PrepullImage's status that the refresher writes.
type answer struct {
	Digest        string `json:"digest,omitempty"`
	DownloadBytes int64  `json:"downloadBytes,omitempty"`
}

// store writes an answer. An object that is gone needs none.
func (r *refresher) store(ctx context.Context, name string, a answer) error {
	patch, err := json.Marshal(map[string]answer{"status": a})
	if err != nil {
		return fmt.Errorf("encoding the answer of a registry: %w", err)
	}
	object := &v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Name: name}}
	err = r.client.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), refreshOwner)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the status of PrepullImage %s: %w", name, err)
	}
	return nil
}
