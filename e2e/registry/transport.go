package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Transport leads straight into the storage of the Registry, whatever host a request names: for tests that push to a
// private, slow, failing or cut-off registry. Nothing on this way is counted. Answers are held in memory.
func (r *Registry) Transport() http.RoundTripper { return direct{r.storage} }

type direct struct{ handler http.Handler }

// RoundTrip calls the handler.
func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	served := req.Clone(req.Context())
	if served.Body == nil {
		served.Body = http.NoBody // a handler may rely on it
	}
	defer served.Body.Close() //nolint:errcheck // the handler has read what it wants
	rec := recorder{status: http.StatusOK, header: http.Header{}}
	d.handler.ServeHTTP(&rec, served)

	length := int64(rec.body.Len())
	if declared, err := strconv.ParseInt(rec.header.Get("Content-Length"), 10, 64); err == nil {
		length = declared // a HEAD says how long the body would be
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", rec.status, http.StatusText(rec.status)),
		StatusCode:    rec.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        rec.header,
		Body:          io.NopCloser(&rec.body),
		ContentLength: length,
		Request:       req,
	}, nil
}

// recorder is a ResponseWriter that keeps the answer.
type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
