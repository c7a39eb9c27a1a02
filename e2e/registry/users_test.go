package registry

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhoAskedForARepositoryIsCounted(t *testing.T) {
	t.Parallel()
	r := &Registry{}
	r.Private("shop/*", Auth{User: "clerk", Password: "p"})
	r.Private("open/*", Auth{User: "nobody", Password: "p", Token: true, Anonymous: true})
	handler := r.auth.wrap(http.NotFoundHandler())
	for _, tc := range []struct {
		path, user, password string
		status               int
	}{
		{"/v2/shop/app/manifests/v1", "clerk", "p", http.StatusNotFound},
		{"/v2/shop/app/manifests/v1", "clerk", "wrong", http.StatusUnauthorized},
		{"/v2/open/app/manifests/v1", "", "", http.StatusUnauthorized},
		{"/token?scope=repository:open/app:pull", "", "", http.StatusOK},
		{"/token?scope=repository:open/app:pull", "mallory", "wrong", http.StatusUnauthorized},
		{"/v2/", "clerk", "p", http.StatusNotFound},
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tc.path, nil)
		if tc.user != "" {
			request.SetBasicAuth(tc.user, tc.password)
		}
		answer := httptest.NewRecorder()
		if handler.ServeHTTP(answer, request); answer.Code != tc.status {
			t.Errorf("%s for %q: %d, want %d", tc.path, tc.user, answer.Code, tc.status)
		}
	}
	if diff := cmp.Diff(map[string]map[string]int64{"shop/app": {"clerk": 2}, "open/app": {"": 2, "mallory": 1}}, r.Users()); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}
