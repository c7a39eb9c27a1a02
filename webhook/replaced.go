package webhook

import (
	"context"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

// worthAsking are the questions about images that pods of the template will run. What an injector or a mirror policy replaces
// in pods, as image: auto of a gateway, is no image of a registry, or one that no pod pulls.
func (w *rewriter) worthAsking(ctx context.Context, r *review, t *pins.Template, questions []pins.Question) []pins.Question {
	return slices.DeleteFunc(questions, func(q pins.Question) bool {
		digest, pinned := t.Pinned(&q.Container)
		if kept, ok := v1alpha1.Pinned(q.Image, q.Keep); ok && !pinned {
			digest, pinned = kept, true
		}
		return w.replaced(ctx, r, q.Image) || pinned && w.replaced(ctx, r, digest)
	})
}

// replaced tells whether pods of the workload that is admitted are known to have another image in the place of one. It reads
// from the cache alone; what is not known is asked for.
func (w *rewriter) replaced(ctx context.Context, r *review, image string) bool {
	var o v1alpha1.PrepullImage
	for _, name := range workload.ObjectNames(image) {
		if err := w.cached.Get(ctx, client.ObjectKey{Name: name}, &o); err == nil && o.Spec.Image == image {
			return slices.ContainsFunc(o.Status.Users, func(u v1alpha1.User) bool {
				return u.Runs != "" && u.Kind == r.hint.Kind && u.Namespace == r.hint.Namespace && u.Name == r.hint.Name
			})
		}
	}
	return false
}
