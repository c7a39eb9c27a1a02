package measure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// warmStarts is how many starts with the image present are made: one alone may be slow by chance. A cold start can be
	// had once a node.
	warmStarts = 3

	// removeDeadline is how long a pod may take to be gone.
	removeDeadline = 10 * time.Second
)

// laboratory makes the starts.
type laboratory struct {
	client.WithWatch
	subject
	progress func(format string, args ...any)
}

// measure makes one cold start, on the first of the nodes that turns out to lack the image, and warm ones on the same node.
func (l *laboratory) measure(ctx context.Context, nodes []string) (*Experiment, error) {
	x := &Experiment{Image: l.image, Notes: []string{}}
	for _, node := range nodes {
		x.Node, x.Starts = node, nil
		if err := l.add(ctx, x); err != nil {
			return nil, err
		}
		if x.Starts[0].Cold {
			break
		}
	}
	for x.warm() < warmStarts && !x.alwaysPulls() {
		if err := l.add(ctx, x); err != nil {
			return nil, err
		}
	}
	x.conclude()
	return x, nil
}

// add makes one more start on the node of an experiment.
func (l *laboratory) add(ctx context.Context, x *Experiment) error {
	t, pod, err := l.start(ctx, x.Node)
	if err != nil {
		return fmt.Errorf("measuring on node %s: %w", x.Node, err)
	}
	s := t.start(pod)
	x.Starts = append(x.Starts, s)
	x.SizeBytes = max(x.SizeBytes, t.image.Bytes)
	if s.Cold {
		l.progress("%s pulled the image in %.1f s; start-up %.1f s", x.Node, s.PulledSeconds, s.StartUpSeconds)
	} else {
		l.progress("%s had the image; start-up %.1f s", x.Node, s.StartUpSeconds)
	}
	return nil
}

// start makes one pod, watches it start, and deletes it whatever happens.
func (l *laboratory) start(ctx context.Context, node string) (t *timeline, name string, err error) {
	name = "kube-prepull-measure-" + rand.String(8)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := make(chan received, 100) // what comes while the pod is created waits here with its time
	for _, list := range []client.ObjectList{&corev1.PodList{}, &corev1.EventList{}} {
		if err := l.follow(ctx, list, name, news); err != nil {
			return nil, name, err
		}
	}
	pod := l.pod(name, node)
	created := l.Create(ctx, pod)
	if refused(created) {
		return nil, name, fmt.Errorf("creating a pod: %w", created)
	}
	defer func() { err = errors.Join(err, l.remove(ctx, name)) }()
	if created != nil {
		return nil, name, ended(ctx, fmt.Errorf("creating a pod: %w", created), "")
	}
	s := &sighting{timeline: timeline{created: time.Now()}}
	for !s.complete() {
		select {
		case n := <-news:
			if n.concerns(pod) {
				s.see(n.Event, n.at)
			}
		case <-ctx.Done():
			return nil, name, ended(ctx, nil, s.standstill())
		}
		if s.failure != "" {
			return nil, name, errors.New(s.failure)
		}
	}
	return &s.timeline, name, nil
}

// refused tells whether the API server has answered that it does not do something: then it has not been done.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code >= http.StatusBadRequest && status.Status().Code < http.StatusInternalServerError
}

// ended says in words why a context ended, if it did; else the error stays as it is.
func ended(ctx context.Context, err error, standstill string) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("it took longer than --timeout allows%s", standstill)
	case ctx.Err() != nil:
		return errors.New("interrupted")
	}
	return err
}

// standstill is what a pod that has not started did last.
func (s *sighting) standstill() string {
	switch {
	case s.ran:
		return ": the pod started, but the kubelet's events, which tell when, did not come"
	case s.latest != "":
		return ": the last that the pod did was: " + s.latest
	}
	return ": the pod was created, and nothing happened"
}

// received is a piece of news and when it came.
type received struct {
	watch.Event
	at time.Time
}

// concerns tells whether news is of this very pod.
func (r *received) concerns(pod *corev1.Pod) bool {
	switch o := r.Object.(type) {
	case *corev1.Pod:
		return o.UID == pod.UID
	case *corev1.Event:
		return o.InvolvedObject.UID == pod.UID
	}
	return false
}

// follow sends the news of a pod that need not exist yet, or of its events. It returns when nothing can be missed any more.
func (l *laboratory) follow(ctx context.Context, list client.ObjectList, pod string, news chan<- received) error {
	selector, what := fields.OneTermEqualSelector("metadata.name", pod), "pods"
	if _, ok := list.(*corev1.EventList); ok {
		selector, what = fields.OneTermEqualSelector("involvedObject.name", pod), "events"
	}
	open := func() (watch.Interface, error) {
		return l.Watch(ctx, list, client.InNamespace(l.namespace), client.MatchingFieldsSelector{Selector: selector})
	}
	w, err := open()
	if err != nil {
		return ended(ctx, fmt.Errorf("watching %s: %w", what, err), "")
	}
	go func() {
		// The API server ends watches after a while. A new one begins with what there is.
		for relay(ctx, w, news); ctx.Err() == nil; relay(ctx, w, news) {
			_ = wait.PollUntilContextCancel(ctx, time.Second, true, func(context.Context) (bool, error) {
				again, err := open()
				if err == nil {
					w = again
				}
				return err == nil, nil
			})
		}
	}()
	return nil
}

func relay(ctx context.Context, w watch.Interface, news chan<- received) {
	defer w.Stop()
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				return
			}
			select {
			case news <- received{e, time.Now()}:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// remove deletes a pod and waits until it is gone, also after an interruption. It need not exist: a call that was
// interrupted may have made it or not. A kubelet that is busy with a pull takes its time; noop needs none.
func (l *laboratory) remove(ctx context.Context, name string) error {
	ctx = context.WithoutCancel(ctx)
	err := l.removeWithin(ctx, name)
	if errors.Is(err, context.DeadlineExceeded) {
		err = l.removeWithin(ctx, name, client.GracePeriodSeconds(0))
	}
	if err != nil {
		return fmt.Errorf("pod %s of namespace %s is left, delete it: %w", name, l.namespace, err)
	}
	return nil
}

func (l *laboratory) removeWithin(ctx context.Context, name string, options ...client.DeleteOption) error {
	ctx, cancel := context.WithTimeout(ctx, removeDeadline)
	defer cancel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: name}}
	if err := l.Delete(ctx, pod, options...); err != nil {
		return client.IgnoreNotFound(err)
	}
	return wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := l.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}
