package registry

import (
	"net/http"
	"slices"
	"strings"
)

// route is what a path of the distribution API names. The zero value stands for every path outside a repository.
type route struct {
	repo string
	// kind is manifests, blobs, uploads, tags or referrers.
	kind string
	// reference is the tag or digest, the id of an upload, or "list" for tags.
	reference string
}

// parse takes a path apart: /v2/<repository>/<kind>/<reference>, in which the repository may have slashes of its own.
func parse(path string) route {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return route{}
	}
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	if n := len(parts); n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads" {
		parts = append(parts, "") // an upload that begins has no id yet
	}
	n := len(parts)
	switch {
	case n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		return route{strings.Join(parts[:n-3], "/"), "uploads", parts[n-1]}
	case n >= 3 && slices.Contains([]string{"manifests", "blobs", "tags", "referrers"}, parts[n-2]):
		return route{strings.Join(parts[:n-2], "/"), parts[n-2], parts[n-1]}
	}
	return route{}
}

// downloads reports whether a request asks for the content of a blob.
func (r route) downloads(method string) bool {
	return r.kind == "blobs" && method == http.MethodGet
}
