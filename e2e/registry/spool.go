package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
)

// spool keeps the parts of an upload on disk until the PUT that ends it, and hands them on as the body of that PUT.
// The handler of go-containerregistry would keep them in memory.
func (b blobs) spool(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := parse(r.URL.Path)
		upload := at.kind == "uploads" && at.reference != ""
		file := filepath.Join(string(b), "upload-"+at.reference)
		switch {
		case upload && r.Method == http.MethodPatch:
			size, err := receive(file, r)
			if err != nil {
				refuseUpload(w, err)
				return
			}
			w.Header().Set("Location", path.Join("/v2", at.repo, "blobs/uploads", at.reference))
			w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
			w.WriteHeader(http.StatusAccepted)
		case upload && r.Method == http.MethodPut:
			f, err := finish(file, r)
			if err != nil {
				refuseUpload(w, err)
				return
			}
			defer os.Remove(file) //nolint:errcheck // Close removes the directory
			defer f.Close()       //nolint:errcheck // only read
			r.Body, r.ContentLength = f, 0
			next.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// errMisplaced is that a part of an upload does not start where the part before it ended.
var errMisplaced = errors.New("the upload does not go on at this byte")

func refuseUpload(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if errors.Is(err, errMisplaced) {
		status = http.StatusRequestedRangeNotSatisfiable
	}
	refuse(w, status, err.Error())
}

// finish appends the body of the last request of an upload and opens the whole.
func finish(file string, r *http.Request) (*os.File, error) {
	if _, err := receive(file, r); err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading an upload: %w", err)
	}
	return f, nil
}

// receive appends the body of a request to a file and returns how long the file is then.
func receive(file string, r *http.Request) (size int64, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("opening an upload: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("looking up an upload: %w", err)
	}
	if content := r.Header.Get("Content-Range"); content != "" {
		var start, end int64
		if _, err := fmt.Sscanf(content, "%d-%d", &start, &end); err != nil || start != info.Size() {
			return 0, fmt.Errorf("%w: %s after %d bytes", errMisplaced, content, info.Size())
		}
	}
	n, err := io.Copy(f, r.Body)
	if err != nil {
		return 0, fmt.Errorf("receiving an upload: %w", err)
	}
	return info.Size() + n, nil
}
