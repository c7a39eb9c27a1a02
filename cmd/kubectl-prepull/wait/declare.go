package wait

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/bootstrap"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// ttl is how long what is declared here stays unless a workload uses it: as long as a learned image does by default, so that
	// a rollout may come a day later.
	ttl = 24 * time.Hour

	// declaredBy is in the labels and the names of what is declared here: the name up to it is that of the learned object.
	declaredBy = v1alpha1.DeclaredByWait

	// writeTime is how long a write may take. It is not given up when the program is told to end: nobody would know what came of it.
	writeTime = 10 * time.Second
)

// objectsOf declare an image for a limited time, and notes are what they cannot say. Who declares the same for other nodes makes
// objects of other names.
func objectsOf(image workload.Image) (objects []*v1alpha1.PrepullImage, notes []string) {
	declared, notes := bootstrap.Declare(image)
	for _, d := range declared {
		o := d.(*v1alpha1.PrepullImage)
		o.Name = workload.ObjectName(image.Name) + "-" + declaredBy + "-" + hash(o.Spec)
		o.Labels = map[string]string{v1alpha1.LabelDeclaredBy: declaredBy}
		o.Spec.TTL = &metav1.Duration{Duration: ttl}
		objects = append(objects, o)
	}
	return objects, notes
}

// hash tells specs apart. They consist of types that always marshal.
func hash(spec v1alpha1.PrepullImageSpec) string {
	text, _ := json.Marshal(spec)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

// tells is the object that tells of an image, nil if none does: one that has been looked at goes before one that has not. What is
// only remembered is not pulled, and tells nothing.
func tells(objects []v1alpha1.PrepullImage, image string) *v1alpha1.PrepullImage {
	var found *v1alpha1.PrepullImage
	for i := range objects {
		o := &objects[i]
		if o.Spec.Image != image || o.Status.State == plan.StateSkipped+": "+plan.SkippedRemembered {
			continue
		}
		if found == nil || len(found.Status.Conditions) == 0 {
			found = o
		}
	}
	return found
}

// declarations are what this program has declared, by name.
type declarations map[string]types.UID

// declare makes the objects of an image. One that is there already is somebody else's who waits for the same.
func (d declarations) declare(ctx context.Context, c client.Client, objects []*v1alpha1.PrepullImage) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	for _, o := range objects {
		made := o.DeepCopy()
		err := c.Create(ctx, made)
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("declaring %s: %w", o.Spec.Image, err)
		}
		d[made.Name] = made.UID
	}
	return nil
}

// takenBack is why waiting ended, after what was declared is deleted, and tells what became of that.
func (d declarations) takenBack(ctx context.Context, c client.Client, why error) error {
	if left, err := d.withdraw(ctx, c); err != nil {
		return fmt.Errorf("%w; what this command declared could not be deleted, and ends by itself %s after it was declared (kubectl delete prepullimages %s): %w",
			why, cli.Seconds(ttl.Seconds()), strings.Join(left, " "), err)
	}
	if errors.Is(why, errInterrupted) && len(d) > 0 {
		return fmt.Errorf("%w: what this command declared is deleted, unless a workload uses it", why)
	}
	return why
}

// withdraw deletes what this program has declared, and returns what it could not. What a workload uses by now stays, and counts as
// learned.
func (d declarations) withdraw(ctx context.Context, c client.Client) (left []string, err error) {
	if len(d) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	stored, err := inventory.ReadPrepullImages(ctx, c)
	if err != nil {
		return slices.Sorted(maps.Keys(d)), err
	}
	for i := range stored {
		o := &stored[i]
		if uid, ours := d[o.Name]; !ours || uid != o.UID || !o.Declared() {
			continue
		}
		if e := c.Delete(ctx, o, client.Preconditions{UID: &o.UID}); client.IgnoreNotFound(e) != nil && !apierrors.IsConflict(e) {
			left, err = append(left, o.Name), e
		}
	}
	return left, err
}
