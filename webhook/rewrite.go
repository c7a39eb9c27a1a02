package webhook

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/webhook/audit"
	"github.com/kube-prepull/kube-prepull/webhook/digest"
	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

// labelPause is how often is looked whether the label of a namespace is known.
const labelPause = 10 * time.Millisecond

// What is wrong with tags besides the registry's own words.
var (
	errTooLate     = errors.New("the registry does not answer in time")
	errNoRevisions = errors.New("the workload's earlier revisions cannot be read")
)

// rewriter pins the images of templates, and replaces those of pods.
type rewriter struct {
	cached    client.Reader
	own       string
	labelTime time.Duration // see clock.Clocks
	revisions revisions

	// keys is nil if pull secrets are not used.
	keys *pullKeys

	// resolve returns the digest that a tag points to.
	resolve func(ctx context.Context, namespace, image string, auths [][]byte, fresh bool) (string, error)

	// ifNotPresent is true if pods of a namespace with a digest need not have it pulled at every start.
	ifNotPresent func(namespace string) bool

	// report takes note of a tag that could not be resolved.
	report func(audit.Unpinned)

	metrics *admissionMetrics
	log     logr.Logger
}

// verdict is what becomes of an object that is admitted.
type verdict struct {
	patch    []pins.Operation
	warnings []string
}

// rewrite decides about a review. Without an error it may still have nothing to say.
func (w *rewriter) rewrite(ctx context.Context, r *review) (verdict, error) {
	namespace := r.hint.Namespace
	if workload.Untouchable(namespace, w.own) {
		return verdict{}, nil
	}
	labels, err := w.labels(ctx, namespace)
	if labels == nil || err != nil {
		return verdict{}, err
	}
	object, err := pins.Parse(r.object, r.hint.Kind)
	if err != nil {
		return verdict{}, fmt.Errorf("reading the object: %w", err)
	}
	var old *pins.Object
	if r.operation == "UPDATE" {
		if old, err = pins.Parse(r.old, r.hint.Kind); err != nil {
			return verdict{}, fmt.Errorf("reading the old object: %w", err)
		}
	}
	switch {
	case object.Deleting:
		return verdict{}, nil
	case r.hint.Kind == "Pod":
		return w.pod(ctx, r, object, old, labels), nil
	default:
		return w.workload(ctx, r, object, old, labels)
	}
}

// labels are those of a namespace whose images are pinned, nil if they are not: the API server sends no reviews of such a
// one, so it has changed just now, or the review is forged.
func (w *rewriter) labels(ctx context.Context, namespace string) (map[string]string, error) {
	for tries := w.labelTime / labelPause; ; tries-- {
		ns := workload.NamespaceMetadata()
		err := w.cached.Get(ctx, client.ObjectKey{Name: namespace}, ns)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("getting the namespace: %w", err)
		}
		if v1alpha1.RewriteMode(ns.Labels, nil, false) != "" {
			return ns.Labels, nil
		}
		if tries <= 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(labelPause):
		}
	}
}

func (w *rewriter) pod(ctx context.Context, r *review, object, old *pins.Object, namespace map[string]string) verdict {
	if old != nil {
		return verdict{patch: pins.KeepPod(&object.Template, &old.Template)}
	}
	mode := v1alpha1.RewriteMode(namespace, object.Template.Labels, false)
	if mode == "" {
		return verdict{}
	}
	p := pins.PlanPod(object, mode, w.ifNotPresent(r.hint.Namespace))
	var v verdict
	for _, a := range w.ask(ctx, r, &object.Template, p.Questions) {
		if a.err != nil {
			v.warnings = append(v.warnings, w.left(r, a))
			continue
		}
		p.Settle(a.question, a.digest)
	}
	w.count(r, replaced, len(p.Marker))
	v.patch = p.Patch()
	return v
}

func (w *rewriter) workload(ctx context.Context, r *review, object, old *pins.Object, namespace map[string]string) (verdict, error) {
	t := &object.Template
	var before *pins.Template
	if old != nil {
		before = &old.Template
	}
	mode := v1alpha1.RewriteMode(namespace, t.Labels, object.Controller != nil)
	// The template of a job cannot change, and that of a CronJob's is pinned there.
	elsewhere := r.hint.Kind == "Job" && (old != nil || object.Controller != nil && object.Controller.Kind == "CronJob")
	if elsewhere {
		mode = ""
	}
	var p pins.Plan
	if old != nil && t.SameBesidesPins(before) {
		p = pins.PlanSame(t, before, mode)
	} else if mode != "" {
		p = pins.PlanPins(t, before, mode)
	}
	if mode == "" {
		v := w.verdictOn(r, t, p, nil)
		if !elsewhere && v1alpha1.RewriteMode(namespace, t.Labels, false) != "" {
			v.warnings = notVerified(pins.Brought(t, before))
		}
		return v, nil
	}
	p.Questions = w.worthAsking(ctx, r, t, p.Questions)
	if old != nil && len(p.Questions)+len(p.Remove) > 0 {
		revisions, err := w.revisions.of(ctx, r.hint.Kind, r.hint.Namespace, object)
		known := false
		if err == nil {
			known, err = revisions.have(t)
		}
		switch {
		case err != nil: // nothing is better than to roll forward what is rolled back
			w.log.Info("template let through as it is", "kind", r.hint.Kind, "namespace", r.hint.Namespace, "name", r.hint.Name, "reason", err.Error())
			return w.undecided(r, t, p.Questions), nil
		case known:
			return verdict{}, nil
		}
		p.Accept(revisions.pinned)
	}
	return w.verdictOn(r, t, p, w.ask(ctx, r, t, p.Questions)), nil
}

// verdictOn turns the answers of registries into the verdict about a template.
func (w *rewriter) verdictOn(r *review, t *pins.Template, p pins.Plan, answers []answered) verdict {
	var v verdict
	dropped := len(p.Set)
	for _, c := range p.Refused {
		v.warnings = append(v.warnings, pinWarning(&c, "is not used: no image like "+c.Image+" is pinned here"))
	}
	for _, a := range answers {
		keep := a.err != nil && p.Keeps(a.question, digest.Refused(a.err))
		if settled := p.Settle(t, a.question, a.digest, keep); a.question.Brought != "" && settled != a.question.Brought {
			v.warnings = append(v.warnings, pinWarning(&a.question.Container, "is not used: no earlier revision has it, and the registry does not say that "+a.question.Image+" points there"))
		}
		switch {
		case keep:
			w.count(r, kept, 1)
			v.warnings = append(v.warnings, warning(a, "keeps its digest"))
		case a.err != nil:
			v.warnings = append(v.warnings, w.left(r, a))
		}
	}
	if !t.Fits(p.Set) {
		return v
	}
	w.count(r, restored, dropped)
	w.count(r, pinned, len(p.Set)-dropped)
	v.patch = t.Annotate(p.Set, p.Remove)
	return v
}

// notVerified are warnings about pins that a request brings to a template which is left alone.
func notVerified(containers []pins.Container) []string {
	var warnings []string
	for _, c := range containers {
		warnings = append(warnings, pinWarning(&c, "is used as it came, since another object controls the workload"))
	}
	return warnings
}

// pinWarning tells whoever sent a request what becomes of a pin in it.
func pinWarning(c *pins.Container, what string) string {
	return shortened(fmt.Sprintf("kube-prepull: the pin of %s %s", audit.InWords(c.Name), what))
}

// undecided leaves a template as it came, and says what that means for each container that would have been asked for.
func (w *rewriter) undecided(r *review, t *pins.Template, questions []pins.Question) verdict {
	var v verdict
	for _, q := range questions {
		a := answered{question: q, err: errNoRevisions}
		if _, pinned := t.Pinned(&q.Container); pinned {
			v.warnings = append(v.warnings, warning(a, "keeps its digest"))
		} else {
			v.warnings = append(v.warnings, w.left(r, a))
		}
	}
	return v
}

// left takes note of a tag that stays one, and returns the warning about it.
func (w *rewriter) left(r *review, a answered) string {
	w.count(r, leftTag, 1)
	if !r.dryRun {
		w.report(audit.Unpinned{
			Group: r.group, Kind: r.hint.Kind, Namespace: r.hint.Namespace, Name: r.hint.Name,
			Container: a.question.Name, Image: a.question.Image, Why: a.err.Error(),
		})
	}
	return warning(a, "stays a tag")
}

func warning(a answered, what string) string {
	return shortened(fmt.Sprintf("kube-prepull: %s of %s %s: %v", a.question.Image, audit.InWords(a.question.Name), what, a.err))
}

func shortened(text string) string {
	const most = 250 // the API server cuts warnings off at 256 bytes
	return workload.Shortened(text, most)
}

func (w *rewriter) count(r *review, result string, n int) {
	if !r.dryRun {
		w.metrics.pins.WithLabelValues(result).Add(float64(n))
	}
}

// answered is a question with its answer: a digest or an error.
type answered struct {
	question pins.Question
	digest   string
	err      error
}

// ask asks for all tags at the same time, and each once: containers with the same image get the same digest.
func (w *rewriter) ask(ctx context.Context, r *review, t *pins.Template, questions []pins.Question) []answered {
	if len(questions) == 0 {
		return nil
	}
	fresh := map[string]bool{}
	for _, q := range questions {
		fresh[q.Image] = fresh[q.Image] || q.Fresh
	}
	var auths [][]byte
	var err error
	if w.keys != nil {
		if auths, err = w.keys.of(ctx, r.hint.Namespace, t, r.hint.Kind == "Pod"); err != nil && ctx.Err() != nil {
			err = errTooLate
		}
	}
	answers := map[string]*answered{}
	var asking sync.WaitGroup
	for image := range fresh {
		a := &answered{err: err}
		answers[image] = a
		if err == nil {
			asking.Go(func() { a.digest, a.err = w.askOne(ctx, r.hint.Namespace, image, auths, fresh[image]) })
		}
	}
	asking.Wait()
	list := make([]answered, len(questions))
	for i, q := range questions {
		list[i] = answered{q, answers[q.Image].digest, answers[q.Image].err}
	}
	return list
}

// askOne resolves one tag, and survives whatever the libraries do with what a registry sends.
func (w *rewriter) askOne(ctx context.Context, namespace, image string, auths [][]byte, fresh bool) (found string, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error(fmt.Errorf("panic: %v", p), "tag not resolved", "stack", string(debug.Stack()))
			found, err = "", errors.New("an internal error")
		}
	}()
	found, err = w.resolve(ctx, namespace, image, auths, fresh)
	if err != nil && ctx.Err() != nil {
		err = errTooLate
	}
	return found, err
}
