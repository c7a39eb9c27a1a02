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
	"github.com/kube-prepull/kube-prepull/webhook/digest"
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
	namespaces client.Reader // cached
	own        string
	labelTime  time.Duration // see clock.Clocks
	revisions  revisions

	// keys is nil if pull secrets are not used.
	keys *pullKeys

	// resolve returns the digest that a tag points to.
	resolve func(ctx context.Context, image string, auths [][]byte, fresh bool) (string, error)

	// ifNotPresent is true if pods with a digest need not have it pulled at every start.
	ifNotPresent func() bool

	// report takes note of a tag that could not be resolved.
	report func(unpinned)

	metrics *admissionMetrics
	log     logr.Logger
}

// verdict is what becomes of an object that is admitted.
type verdict struct {
	patch    []operation
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
	object, err := parseObject(r.object, r.hint.Kind)
	if err != nil {
		return verdict{}, fmt.Errorf("reading the object: %w", err)
	}
	var old *rawObject
	if r.operation == "UPDATE" {
		if old, err = parseObject(r.old, r.hint.Kind); err != nil {
			return verdict{}, fmt.Errorf("reading the old object: %w", err)
		}
	}
	switch {
	case object.deleting:
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
		err := w.namespaces.Get(ctx, client.ObjectKey{Name: namespace}, ns)
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

func (w *rewriter) pod(ctx context.Context, r *review, object, old *rawObject, namespace map[string]string) verdict {
	if old != nil {
		return verdict{patch: keepPod(&object.template, &old.template)}
	}
	mode := v1alpha1.RewriteMode(namespace, object.template.labels, false)
	if mode == "" {
		return verdict{}
	}
	p := planPod(object, mode, w.ifNotPresent())
	var v verdict
	for _, a := range w.ask(ctx, r, &object.template, p.questions) {
		if a.err != nil {
			v.warnings = append(v.warnings, w.left(r, a))
			continue
		}
		p.settle(a.question, a.digest)
	}
	w.count(r, replaced, len(p.marker))
	v.patch = p.patch()
	return v
}

func (w *rewriter) workload(ctx context.Context, r *review, object, old *rawObject, namespace map[string]string) (verdict, error) {
	t := &object.template
	if old != nil && t.sameBesidesPins(&old.template) {
		set := restorePins(t, &old.template)
		w.count(r, restored, len(set))
		return verdict{patch: t.annotate(set, nil)}, nil
	}
	ofCronJob := r.hint.Kind == "Job" && object.controller != nil && object.controller.Kind == "CronJob"
	mode := v1alpha1.RewriteMode(namespace, t.labels, object.controller != nil)
	// The template of a job cannot change, and that of a CronJob's is pinned there.
	if mode == "" || ofCronJob || r.hint.Kind == "Job" && old != nil {
		return verdict{}, nil
	}
	var before *template
	if old != nil {
		before = &old.template
	}
	p := planPins(t, before, mode)
	if old != nil && len(p.questions)+len(p.remove) > 0 {
		known, err := w.revisions.have(ctx, r.hint.Kind, r.hint.Namespace, object)
		switch {
		case err != nil: // nothing is better than to roll forward what is rolled back
			w.log.Info("template let through as it is", "kind", r.hint.Kind, "namespace", r.hint.Namespace, "name", r.hint.Name, "reason", err.Error())
			return w.undecided(r, t, p.questions), nil
		case known:
			return verdict{}, nil
		}
	}
	return w.settle(r, t, p, w.ask(ctx, r, t, p.questions)), nil
}

// settle turns the answers of registries into the verdict about a template.
func (w *rewriter) settle(r *review, t *template, p pinPlan, answers []answered) verdict {
	var v verdict
	for _, a := range answers {
		keep := a.err != nil && !digest.Refused(a.err) && a.question.keep != ""
		p.settle(t, a.question, a.digest, keep)
		switch {
		case keep:
			w.count(r, kept, 1)
			v.warnings = append(v.warnings, warning(a, "keeps its digest"))
		case a.err != nil:
			v.warnings = append(v.warnings, w.left(r, a))
		}
	}
	if !t.fits(p.set) {
		return v
	}
	w.count(r, pinned, len(p.set))
	v.patch = t.annotate(p.set, p.remove)
	return v
}

// undecided leaves a template as it came, and says what that means for each container that would have been asked for.
func (w *rewriter) undecided(r *review, t *template, questions []question) verdict {
	var v verdict
	for _, q := range questions {
		a := answered{question: q, err: errNoRevisions}
		if _, pinned := t.pinned(&q.container); pinned {
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
		w.report(unpinned{
			group: r.group, kind: r.hint.Kind, namespace: r.hint.Namespace, name: r.hint.Name,
			container: a.question.name, image: a.question.image, why: a.err.Error(),
		})
	}
	return warning(a, "stays a tag")
}

func warning(a answered, what string) string {
	const most = 250 // the API server cuts warnings off at 256 bytes
	return shortened(fmt.Sprintf("kube-prepull: %s of %s %s: %v", a.question.image, inWords(a.question.name), what, a.err), most)
}

func (w *rewriter) count(r *review, result string, n int) {
	if !r.dryRun {
		w.metrics.pins.WithLabelValues(result).Add(float64(n))
	}
}

// answered is a question with its answer: a digest or an error.
type answered struct {
	question question
	digest   string
	err      error
}

// ask asks for all tags at the same time, and each once: containers with the same image get the same digest.
func (w *rewriter) ask(ctx context.Context, r *review, t *template, questions []question) []answered {
	if len(questions) == 0 {
		return nil
	}
	fresh := map[string]bool{}
	for _, q := range questions {
		fresh[q.image] = fresh[q.image] || q.fresh
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
			asking.Go(func() { a.digest, a.err = w.askOne(ctx, image, auths, fresh[image]) })
		}
	}
	asking.Wait()
	list := make([]answered, len(questions))
	for i, q := range questions {
		list[i] = answered{q, answers[q.image].digest, answers[q.image].err}
	}
	return list
}

// askOne resolves one tag, and survives whatever the libraries do with what a registry sends.
func (w *rewriter) askOne(ctx context.Context, image string, auths [][]byte, fresh bool) (found string, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error(fmt.Errorf("panic: %v", p), "tag not resolved", "stack", string(debug.Stack()))
			found, err = "", errors.New("an internal error")
		}
	}()
	found, err = w.resolve(ctx, image, auths, fresh)
	if err != nil && ctx.Err() != nil {
		err = errTooLate
	}
	return found, err
}
