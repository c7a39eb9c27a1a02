package digest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

const (
	// amplified is how many times as much memory as an answer has on the wire may be taken in all while it is read: a buffer
	// that grows, and the parts that are copied from it.
	amplified = 8

	// parsing is what reading any answer takes besides.
	parsing = 1 << 20
)

// allocated is how much memory something takes in all. Nothing else may run meanwhile.
func allocated(do func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// hostileManifests are small and want to become large.
func hostileManifests(size int) []string {
	fill := func(format, part string) string {
		n := max(1, (size-len(format))/len(part))
		return fmt.Sprintf(format, strings.TrimSuffix(strings.Repeat(part, n), ","))
	}
	return []string{
		fill(`{"config":{},"layers":[%s]}`, "0,"),
		fill(`{"config":{},"layers":[%s]}`, "{},"),
		fill(`{"manifests":[%s]}`, "{},"),
		fill(`{"manifests":[%s]}`, `{"platform":{}},`),
		fill(`{"config":{},%s}`, `"layers":[{}],`),
		fill(`{"config":{},"layers":[%s]}`, "null,"),
		fill(`{%s}`, `"config":{},`),
		fill(`{%s}`, `"a":0,`),
		fill(`{"a":[%s]}`, `0,`),
		fill(`{"a":%s`, `[`),
		fill(`{"a":%s`, `{"a":`),
		fill(`{"layers":[{"annotations":{%s}}]}`, `"":"",`),
		fill(`{"config":{"digest":"%s"}}`, `\u0000`),
		fill(`{"%s":0}`, `\ud800`),
		fill(`{"layers":%s`, ` `),
		fill(`%s`, `{`),
		fill(`[%s]`, `{},`),
	}
}

// TestAnAnswerTakesLittleMoreMemoryThanOnTheWire asks with everything that is between the registry and the answer. It is not parallel,
// since it counts what the process allocates.
func TestAnAnswerTakesLittleMoreMemoryThanOnTheWire(t *testing.T) {
	for _, body := range hostileManifests(4 << 20) {
		r := newOn(func(request *http.Request) (*http.Response, error) {
			response := reply(request, http.StatusOK)
			if request.URL.Path != "/v2/" {
				response.Body = io.NopCloser(strings.NewReader(body))
			}
			return response, nil
		})
		var err error
		took := allocated(func() { _, err = r.Look(t.Context(), "r.test/a:v1", "amd64", nil) })
		if took > 16<<20 || err == nil {
			t.Errorf("%.40s… takes %d MiB, and the error is %v", body, took>>20, err)
		}
	}
}

func TestReadDocument(t *testing.T) {
	t.Parallel()
	parts := func(n int) string { return strings.TrimSuffix(strings.Repeat(`{"size":1},`, n), ",") }
	for name, tc := range map[string]struct {
		body string
		want document
		err  string
	}{
		"an image":                     {`{"schemaVersion":2,"config":{"digest":"c","size":1,"data":[1,{"a":null}]},"layers":[{"digest":"l","size":2}],"annotations":{"a":"b"}}`, document{image: true, bytes: 3}, ""},
		"a layer that is there twice":  {`{"config":{"digest":"c"},"layers":[{"digest":"l","size":2},{"digest":"l","size":2}]}`, document{image: true, bytes: 2}, ""},
		"layers before the config":     {`{"layers":[{"digest":"l","size":2}],"config":{"digest":"c","size":1}}`, document{image: true, bytes: 3}, ""},
		"no layers":                    {`{"config":{"digest":"c","size":1},"layers":null}`, document{image: true, bytes: 1}, ""},
		"an index":                     {`{"manifests":[{"digest":"x","platform":{"os":"linux","architecture":"arm64"}},{"digest":"` + someDigest + `","platform":{"os":"linux","architecture":"amd64"}}]}`, document{index: true, platform: someDigest}, ""},
		"the first of a platform":      {`{"manifests":[{"digest":"` + someDigest + `","platform":{"os":"linux","architecture":"amd64"}},{"digest":"../x","platform":{"os":"linux","architecture":"amd64"}}]}`, document{index: true, platform: someDigest}, ""},
		"an index for other platforms": {`{"manifests":[{"digest":"x"}]}`, document{index: true}, ""},
		"an empty index":               {`{"manifests":[]}`, document{}, ""},
		"as many layers as there may":  {`{"config":{},"layers":[` + parts(maxParts-3) + `]}`, document{image: true, bytes: 0}, ""},
		"too many layers":              {`{"config":{},"layers":[` + parts(maxParts-2) + `]}`, document{}, "the manifest has too many parts"},
		"too many manifests":           {`{"manifests":[` + parts(maxParts) + `]}`, document{}, "the manifest has too many parts"},
		"too large a sum":              {`{"config":{"digest":"c","size":9223372036854775807},"layers":[{"digest":"l","size":1}]}`, document{}, "the manifest has impossible sizes"},
		"a negative size":              {`{"config":{"digest":"c","size":-1}}`, document{}, "the manifest has impossible sizes"},
		"a size that is no number":     {`{"config":{"digest":"c","size":"1"}}`, document{}, "the manifest is not valid JSON"},
		"layers that are none":         {`{"config":{},"layers":[0,0]}`, document{}, "the manifest is not valid JSON"},
		"layers that are no list":      {`{"config":{},"layers":{}}`, document{}, "the manifest is not valid JSON"},
		"no object":                    {`[]`, document{}, "the manifest is not valid JSON"},
		"more than one":                {`{}{}`, document{}, "the manifest is not valid JSON"},
		"more than it":                 {`{} x`, document{}, "the manifest is not valid JSON"},
		"half of one":                  {`{"config":{}`, document{}, "EOF"},
		"nothing":                      {``, document{}, "EOF"},
	} {
		got, err := readDocument(strings.NewReader(tc.body), "amd64")
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%s: %+v, %v, want %+v, %q", name, got, err, tc.want, tc.err)
		}
	}
}

// FuzzReadDocument takes little more memory than its input. What it accepts is JSON with the same parts for everybody.
func FuzzReadDocument(f *testing.F) {
	for _, body := range hostileManifests(1 << 10) {
		f.Add(body)
	}
	f.Add(`{"config":{"digest":"c","size":1},"layers":[{"digest":"l","size":2}]}`)
	f.Add(`{"manifests":[{"digest":"` + someDigest + `","platform":{"os":"linux","architecture":"amd64"}}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		var d document
		var err error
		took := allocated(func() { d, err = readDocument(strings.NewReader(body), "amd64") })
		if took > amplified*len(body)+parsing {
			t.Errorf("%d bytes take %d", len(body), took)
		}
		switch {
		case err != nil && d != (document{}):
			t.Errorf("with an error it is %+v", d)
		case err == nil && !json.Valid([]byte(body)):
			t.Error("it is not JSON")
		case d.bytes < 0 || d.platform != "" && !d.index:
			t.Errorf("it is %+v", d)
		}
	})
}
