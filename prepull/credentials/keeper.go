package credentials

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// maxSources is how many pull secrets are used at most.
	maxSources = 500

	// sourceReaders is how many are read at the same time, and sourceDeadline is how long all of them may take together.
	sourceReaders  = 8
	sourceDeadline = 10 * time.Second
)

// fieldOwner of the copies.
const fieldOwner = client.FieldOwner("kube-prepull")

// Keeper keeps copies of the pull secrets that images need in our namespace. It is a controller of its own: whoever plans
// says what is needed and takes what is known, and never waits for a Secret. Pull secrets are read one by one, past the
// cache, and never listed or watched. What it remembers only saves reads: a new leader reads everything anew.
type Keeper struct {
	client    client.Client
	live      client.Reader
	namespace string
	clocks    clock.Clocks

	// noop is the repository of the image that every prepull pod has.
	noop string

	// off is set if pull secrets are not used, and swept once the copies of an earlier time are gone.
	off   bool
	swept bool

	exchange

	// read is what was read last of each needed pull secret.
	read map[v1alpha1.SecretReference]reading

	// copies are the stored copies by name, listed at that time; nil before the first time, and stale when they were found
	// to be others.
	copies map[string]pullCopy
	listed time.Time
	stale  bool

	// pulls is what the last sync came to.
	pulls plan.Pulls
}

// reading is what a pull secret said when it was read last.
type reading struct {
	config  pullsecret.Config
	problem string

	// words are hidden where a kubelet quotes them.
	words []string

	// at is when it was read, and failed is set if that did not work: the rest is what was known before.
	at     time.Time
	failed bool
}

func (c *Keeper) due(r reading, denied bool) time.Time {
	switch {
	case r.failed:
		return r.at.Add(c.clocks.SecretRetry)
	case denied:
		return r.at.Add(c.clocks.DeniedInterval)
	}
	return r.at.Add(c.clocks.SecretInterval)
}

// sync reads the needed pull secrets that are due, and writes the copies that differ, all that it can. It returns when
// to come again, zero for never.
func (c *Keeper) sync(ctx context.Context, n need, now time.Time) (time.Time, error) {
	if c.off {
		c.pulls = plan.Pulls{Off: true}
		return time.Time{}, c.sweep(ctx, n.named)
	}
	needed := n.secrets()
	if err := c.list(ctx, needed, now); err != nil {
		return now.Add(c.clocks.SecretRetry), err
	}
	refs, excess := c.bounded(needed)
	wanted, next, readErr := c.refresh(ctx, refs, needed, now)
	withKeys(wanted, n.keys)
	p := planCopies(wanted, slices.Collect(maps.Values(c.copies)), c.noop, now)
	writeErr := c.write(ctx, p, n)
	c.pulls = c.outcome(p, n, wanted, excess)
	if c.stale {
		next = now.Add(c.clocks.PassPace)
	}
	return next, errors.Join(readErr, writeErr)
}

// withKeys says what each source is needed for.
func withKeys(wanted []pullSource, keys map[plan.Key]plan.Use) {
	of := make(map[v1alpha1.SecretReference]map[string]plan.Use, len(wanted))
	for i := range wanted {
		wanted[i].keys = map[string]plan.Use{}
		of[wanted[i].ref] = wanted[i].keys
	}
	for key, use := range keys {
		if of[key.Secret] != nil {
			of[key.Secret][key.Repository] = use
		}
	}
}

// outcome is what is known once a plan was carried out, as far as that worked.
func (c *Keeper) outcome(p copyPlan, n need, wanted []pullSource, excess []v1alpha1.SecretReference) plan.Pulls {
	pulls := plan.Pulls{
		Copies: map[v1alpha1.SecretReference]string{}, Changed: map[string]time.Time{},
		Keys: map[plan.Key]string{}, Problems: map[v1alpha1.SecretReference]string{},
	}
	for ref, planned := range p.of {
		if stored, found := c.copies[planned.name]; found {
			pulls.Copies[ref] = stored.name
			pulls.Changed[stored.name] = stored.changed
		}
	}
	for key, why := range p.keys {
		stored := c.copies[pulls.Copies[key.Secret]].config
		if why != "" || stored.Has(key.Repository) || n.keys[key] != plan.UseGuard && len(stored.Offers(key.Repository)) > 0 {
			pulls.Keys[key] = why
		}
	}
	for _, s := range wanted {
		if s.problem != "" {
			pulls.Problems[s.ref] = s.problem
		}
	}
	for _, ref := range excess {
		pulls.Problems[ref] = fmt.Sprintf("is one too many: %d are used at most", maxSources)
	}
	return pulls
}

// bounded are the needed pull secrets that are used, and those that are too many. Namespaces take turns, each with what is
// copied already first.
func (c *Keeper) bounded(needed map[v1alpha1.SecretReference]bool) (refs, excess []v1alpha1.SecretReference) {
	copied := map[v1alpha1.SecretReference]bool{}
	for _, stored := range c.copies {
		copied[stored.Source] = true
	}
	var fresh []v1alpha1.SecretReference
	for _, ref := range slices.SortedFunc(maps.Keys(needed), workload.CompareSecrets) {
		if copied[ref] {
			refs = append(refs, ref)
		} else {
			fresh = append(fresh, ref)
		}
	}
	refs = workload.InTurn(append(refs, fresh...))
	end := min(maxSources, len(refs))
	return refs[:end], refs[end:]
}

// refresh reads what is due, forgets what is not needed, and returns what is known of the rest and when to come again.
func (c *Keeper) refresh(ctx context.Context, refs []v1alpha1.SecretReference, denied map[v1alpha1.SecretReference]bool, now time.Time) ([]pullSource, time.Time, error) {
	var wanted []pullSource
	var due []v1alpha1.SecretReference
	var errs []error
	known := map[v1alpha1.SecretReference]reading{}
	for _, ref := range refs {
		in, err := c.optedIn(ctx, ref.Namespace)
		if err != nil {
			errs = append(errs, err)
		} else if !in {
			wanted = append(wanted, pullSource{ref: ref, problem: "is in a namespace that is not opted in", refused: true})
			continue
		}
		r, found := c.read[ref]
		known[ref] = r
		if err == nil && (!found || !now.Before(c.due(r, denied[ref]))) {
			due = append(due, ref)
		}
	}
	c.read = known
	errs = append(errs, c.readAll(ctx, due, now))
	var next time.Time
	for _, ref := range refs {
		r, found := c.read[ref]
		if !found {
			continue
		}
		wanted = append(wanted, pullSource{ref: ref, config: r.config, problem: r.problem})
		if again := c.due(r, denied[ref]); !r.at.IsZero() && (next.IsZero() || again.Before(next)) {
			next = again
		}
	}
	return wanted, next, errors.Join(errs...)
}

func (c *Keeper) optedIn(ctx context.Context, namespace string) (bool, error) {
	ns := workload.NamespaceMetadata()
	err := c.client.Get(ctx, client.ObjectKey{Name: namespace}, ns)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("getting the namespace of a pull secret: %w", err)
	}
	return err == nil && workload.OptedIn(ns, c.namespace), nil
}

// readAll reads pull secrets, a few at a time, in bounded time.
func (c *Keeper) readAll(ctx context.Context, refs []v1alpha1.SecretReference, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, sourceDeadline)
	defer cancel()
	readings := make([]reading, len(refs))
	errs := make([]error, len(refs))
	var running sync.WaitGroup
	turn := make(chan struct{}, sourceReaders)
	for i, ref := range refs {
		known := c.read[ref]
		turn <- struct{}{}
		running.Go(func() {
			defer func() { <-turn }()
			readings[i], errs[i] = c.readOne(ctx, ref, known, now)
		})
	}
	running.Wait()
	for i, ref := range refs {
		c.read[ref] = readings[i]
	}
	return errors.Join(errs...)
}

func (c *Keeper) readOne(ctx context.Context, ref v1alpha1.SecretReference, known reading, now time.Time) (reading, error) {
	var secret corev1.Secret
	err := c.live.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return reading{problem: "does not exist", at: now}, nil
	case apierrors.IsForbidden(err):
		return reading{problem: "may not be read by kube-prepull", at: now}, nil
	case err != nil:
		known.at, known.failed = now, true
		return known, fmt.Errorf("reading the pull secret %s: %w", ref.String(), err)
	}
	content, problem := pullsecret.Parse(&secret)
	if problem != "" {
		return reading{problem: problem, at: now}, nil
	}
	return reading{config: pullsecret.Read(content), words: pullsecret.Words(content), at: now}, nil
}

// list reads the stored copies at the start, when they were found to be others, and along with their sources: somebody
// may have deleted or changed one.
func (c *Keeper) list(ctx context.Context, needed map[v1alpha1.SecretReference]bool, now time.Time) error {
	interval := c.clocks.SecretInterval
	for _, denied := range needed {
		if denied {
			interval = c.clocks.DeniedInterval
		}
	}
	unused := len(needed) == 0 && len(c.copies) == 0
	if c.copies != nil && !c.stale && (unused || now.Sub(c.listed) < interval) {
		return nil
	}
	var list corev1.SecretList
	if err := c.live.List(ctx, &list, client.InNamespace(c.namespace), client.MatchingLabels(v1alpha1.PrepullLabels())); err != nil {
		return fmt.Errorf("listing the copies of pull secrets: %w", err)
	}
	c.copies, c.listed, c.stale = map[string]pullCopy{}, now, false
	for i := range list.Items {
		if stored, ok := CopyOf(&list.Items[i]); ok {
			c.copies[stored.name] = stored
		}
	}
	return nil
}
