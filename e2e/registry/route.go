package registry

import (
	"net/http"
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
	n := len(parts)
	if n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads" {
		return route{repo: strings.Join(parts[:n-2], "/"), kind: "uploads"}
	}
	if n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads" {
		return route{repo: strings.Join(parts[:n-3], "/"), kind: "uploads", reference: parts[n-1]}
	}
	if n < 3 {
		return route{}
	}
	switch kind := parts[n-2]; kind {
	case "manifests", "blobs", "tags", "referrers":
		return route{repo: strings.Join(parts[:n-2], "/"), kind: kind, reference: parts[n-1]}
	}
	return route{}
}

// downloads reports whether a request asks for the content of a blob.
func (r route) downloads(method string) bool {
	return r.kind == "blobs" && method == http.MethodGet
}
