package pages

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// firstPage is how many objects are asked for first: as many as most namespaces have of a kind.
	firstPage = 32

	// maxPage is how many are asked for at most.
	maxPage = 512
)

// Get reads an object. The error is ErrTooLarge if it has more than 2 MiB.
func Get(ctx context.Context, reader client.Reader, key client.ObjectKey, into client.Object) error {
	r := &reading{namespace: key.Namespace}
	defer r.end()
	return reader.Get(context.WithValue(ctx, readingKey{}, r), key, into)
}

// List reads a page of a list, or all of it if the options have no limit. A page that is too large is asked for again with half
// as many objects, and the options say with how many. The error is ErrTooLarge if there is nothing to halve.
func List(ctx context.Context, reader client.Reader, list client.ObjectList, options *client.ListOptions) error {
	for {
		err := listOnce(ctx, reader, list, options)
		if !errors.Is(err, ErrTooLarge) || options.Limit <= 1 {
			return err
		}
		options.Limit /= 2
	}
}

func listOnce(ctx context.Context, reader client.Reader, list client.ObjectList, options *client.ListOptions) error {
	r := &reading{list: true, namespace: options.Namespace}
	defer r.end()
	return reader.List(context.WithValue(ctx, readingKey{}, r), list, options)
}

// Each calls do for the objects of a list, which it reads page by page: a few first, and twice as many each time. It fails at an
// object that is too large by itself. Only what do keeps of the objects stays in memory.
func Each(ctx context.Context, reader client.Reader, list func() client.ObjectList, options client.ListOptions, do func(client.Object)) error {
	options.Limit = firstPage
	for more := true; more; more = options.Continue != "" {
		page := list()
		if err := List(ctx, reader, page, &options); err != nil {
			return fmt.Errorf("listing: %w", err)
		}
		if err := meta.EachListItem(page, func(o runtime.Object) error { do(o.(client.Object)); return nil }); err != nil {
			return fmt.Errorf("reading a list: %w", err)
		}
		options.Continue = page.GetContinue()
		options.Limit = min(2*options.Limit, maxPage)
	}
	return nil
}
