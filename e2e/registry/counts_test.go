package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestCounts(t *testing.T) {
	t.Parallel()
	r := start(t)
	img := push(t, r, "shop/app", 5000)
	push(t, r, "shop/web", 1)
	if got := r.AllCounts(); len(got) != 0 {
		t.Errorf("the way past the network counts: %v", got)
	}
	if got := head(t, r, "shop/app", authn.Anonymous); got != 200 {
		t.Fatalf("status %d", got)
	}
	if _, err := remote.Get(reference(t, r, "shop/app")); err != nil {
		t.Fatal(err)
	}
	_, size, err := get(t, blobURL(t, r, "shop/app", img))
	if err != nil {
		t.Fatal(err)
	}
	if _, n, err := get(t, blobURL(t, r, "shop/app", img), "Range", "bytes=10-109"); n != 100 || err != nil {
		t.Fatalf("%d bytes, error %v", n, err)
	}
	if _, err := http.Head(blobURL(t, r, "shop/app", img)); err != nil {
		t.Fatal(err)
	}
	get(t, "http://"+r.Addr()+"/v2/shop/web/blobs/sha256:none") // an error has no bytes of a blob
	get(t, "http://"+r.Addr()+"/token?scope=repository:shop/web:pull")
	get(t, "http://"+r.Addr()+"/token")

	app := Counts{ManifestGets: 1, ManifestHeads: 1, BlobGets: 2, BlobHeads: 1, BlobBytes: size + 100}
	web := Counts{BlobGets: 1, TokenRequests: 1}
	want := map[string]Counts{"shop/app": app, "shop/web": web, "": {TokenRequests: 1}}
	if diff := cmp.Diff(want, r.AllCounts()); diff != "" {
		t.Error(diff)
	}
	for pattern, want := range map[string]Counts{"shop/app": app, "shop/*": app.plus(web), "other": {}} {
		if diff := cmp.Diff(want, r.Counts(pattern)); diff != "" {
			t.Errorf("%s:\n%s", pattern, diff)
		}
	}
	r.ResetCounts()
	if got := r.AllCounts(); len(got) != 0 {
		t.Errorf("after a reset: %v", got)
	}
}

func TestARefusedRequestCounts(t *testing.T) {
	t.Parallel()
	r := start(t)
	push(t, r, "app", 1)
	r.Private("app", Auth{User: "u", Password: "p", Token: true})
	if got := head(t, r, "app", &authn.Basic{Username: "u", Password: "p"}); got != 200 {
		t.Fatalf("status %d", got)
	}
	r.SetFault("app", Refuse(500))
	head(t, r, "app", authn.Anonymous)
	if diff := cmp.Diff(Counts{ManifestHeads: 2, TokenRequests: 2}, r.Counts("app")); diff != "" {
		t.Error(diff)
	}
}

func TestASnapshotDoesNotChange(t *testing.T) {
	t.Parallel()
	var r Registry
	r.counts.add("app", Counts{BlobGets: 1})
	before := r.AllCounts()
	r.counts.add("app", Counts{BlobGets: 1})
	if diff := cmp.Diff(map[string]Counts{"app": {BlobGets: 1}}, before); diff != "" {
		t.Error(diff)
	}
}

func TestBytesThatCouldNotBeSentDoNotCount(t *testing.T) {
	t.Parallel()
	var c counts
	c.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 100)) // a download that fails on the way
	})).ServeHTTP(bodyWriter{httptest.NewRecorder(), func([]byte) (int, error) { return 30, io.ErrClosedPipe }},
		httptest.NewRequest(http.MethodGet, aBlob, nil))
	if got := c.repos["app"].BlobBytes; got != 30 {
		t.Errorf("%d bytes, want 30", got)
	}
}
