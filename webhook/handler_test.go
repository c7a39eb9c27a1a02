package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/webhook/pins"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/clock"
)

func testHandler(t testing.TB, learn func(workload.Hint) bool) *handler {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return newHandler(learn, nil, nil, clock.Production().AdmissionTime, m, logr.Discard())
}

func post(h http.Handler, body []byte) *httptest.ResponseRecorder {
	return postTo(h, Path, body)
}

func postTo(h http.Handler, path string, body []byte) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
	return recorder
}

// allowed fails the test unless the answer is a review that allows the request with this uid.
func allowed(t testing.TB, answer *httptest.ResponseRecorder, uid types.UID) {
	t.Helper()
	if answer.Code != http.StatusOK {
		t.Fatalf("status %d, want 200: %s", answer.Code, answer.Body)
	}
	var got map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
		t.Fatalf("answer %q: %v", answer.Body, err)
	}
	want := map[string]any{
		"apiVersion": "admission.k8s.io/v1",
		"kind":       "AdmissionReview",
		"response":   map[string]any{"uid": string(uid), "allowed": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("answer (-want +got):\n%s", diff)
	}
}

func TestEveryReviewIsAllowedAndItsOutcomeNamed(t *testing.T) {
	t.Parallel()
	accept := func(workload.Hint) bool { return true }
	full := func(workload.Hint) bool { return false }
	broken := func(workload.Hint) bool { panic("a bug") }
	request := func(group, kind, operation, more string) string {
		return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"7","kind":{"group":"` + group +
			`","version":"v1","kind":"` + kind + `"},"name":"a","namespace":"shop","operation":"` + operation + `"` + more + `}}`
	}
	tests := map[string]struct {
		learn func(workload.Hint) bool
		body  string
		want  outcome
	}{
		"a created pod is hinted":                  {accept, request("", "Pod", "CREATE", ""), hinted},
		"a created Deployment is hinted":           {accept, request("apps", "Deployment", "CREATE", ""), hinted},
		"an updated Deployment is hinted":          {accept, request("apps", "Deployment", "UPDATE", ""), hinted},
		"a StatefulSet is hinted":                  {accept, request("apps", "StatefulSet", "UPDATE", ""), hinted},
		"a DaemonSet is hinted":                    {accept, request("apps", "DaemonSet", "UPDATE", ""), hinted},
		"a Job is hinted":                          {accept, request("batch", "Job", "CREATE", ""), hinted},
		"a CronJob is hinted":                      {accept, request("batch", "CronJob", "UPDATE", ""), hinted},
		"an explicit dryRun false is hinted":       {accept, request("", "Pod", "CREATE", `,"dryRun":false`), hinted},
		"a nil object is hinted by its name":       {accept, request("", "Pod", "CREATE", `,"object":null`), hinted},
		"a full queue drops the hint":              {full, request("", "Pod", "CREATE", ""), dropped},
		"a dry run teaches nothing":                {broken, request("", "Pod", "CREATE", `,"dryRun":true`), dryRun},
		"a dryRun after the object is seen":        {broken, request("", "Pod", "CREATE", `,"object":{"a":[{}]},"dryRun":true`), dryRun},
		"an updated pod is ignored":                {broken, request("", "Pod", "UPDATE", ""), ignored},
		"a deleted Deployment is ignored":          {broken, request("apps", "Deployment", "DELETE", ""), ignored},
		"a ReplicaSet is ignored":                  {broken, request("apps", "ReplicaSet", "CREATE", ""), ignored},
		"a Pod of another group is ignored":        {broken, request("metrics.k8s.io", "Pod", "CREATE", ""), ignored},
		"a Deployment of another group is ignored": {broken, request("example.com", "Deployment", "CREATE", ""), ignored},
		"a Job of another group is ignored":        {broken, request("batch.volcano.sh", "Job", "CREATE", ""), ignored},
		"a subresource is ignored":                 {broken, request("", "Pod", "CREATE", `,"subResource":"binding"`), ignored},
		"a review that is only a uid is ignored":   {broken, `{"request":{"uid":"7"}}`, ignored},
		"a panic is survived":                      {broken, request("", "Pod", "CREATE", ""), failed},
		"a review cut short is allowed":            {accept, `{"request":{"uid":"7","object":{"metadata":{"labels":{"a"`, failed},
		"labels that are no labels are an error":   {accept, request("", "Pod", "CREATE", `,"object":{"metadata":{"labels":[1]}}`), failed},
		"labels beyond any real object's are an error": {
			accept, request("", "Pod", "CREATE", `,"object":{"metadata":{"labels":{"a":"`+strings.Repeat("x", pins.MaxValue)+`"}}}`), failed,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := testHandler(t, test.learn)
			allowed(t, post(h, []byte(test.body)), "7")
			counted(t, h, test.want)
		})
	}
}

// counted fails the test unless exactly one admission was counted, with this outcome.
func counted(t *testing.T, h *handler, want outcome) {
	t.Helper()
	for _, o := range []outcome{hinted, dropped, ignored, dryRun, failed} {
		expected := 0.0
		if o == want {
			expected = 1
		}
		var metric dto.Metric
		if err := h.metrics.total.WithLabelValues(string(o)).Write(&metric); err != nil {
			t.Fatal(err)
		}
		if got := metric.GetCounter().GetValue(); got != expected {
			t.Errorf("outcome %s counted %v times, want %v", o, got, expected)
		}
	}
}

func TestWhatIsNoReviewIsAFailedCall(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		request *http.Request
		status  int
		outcome outcome
	}{
		"no body":                  {httptest.NewRequest(http.MethodPost, Path, nil), http.StatusBadRequest, failed},
		"not JSON":                 {httptest.NewRequest(http.MethodPost, Path, strings.NewReader("hello")), http.StatusBadRequest, failed},
		"no request":               {httptest.NewRequest(http.MethodPost, Path, strings.NewReader(`{"request":null}`)), http.StatusBadRequest, failed},
		"a uid that is no string":  {httptest.NewRequest(http.MethodPost, Path, strings.NewReader(`{"request":{"uid":7}}`)), http.StatusBadRequest, failed},
		"cut short before the uid": {httptest.NewRequest(http.MethodPost, Path, strings.NewReader(`{"request":{"ui`)), http.StatusBadRequest, failed},
		"a body of unknown length": {httptest.NewRequest(http.MethodPost, Path, io.MultiReader(strings.NewReader("{}"))), http.StatusLengthRequired, failed},
		"a body beyond the limit":  {httptest.NewRequest(http.MethodPost, Path, bytes.NewReader(make([]byte, maxBody+1))), http.StatusRequestEntityTooLarge, failed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := testHandler(t, func(workload.Hint) bool { panic("nothing to learn here") })
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, test.request)
			if recorder.Code != test.status {
				t.Errorf("status %d, want %d", recorder.Code, test.status)
			}
			counted(t, h, test.outcome)
		})
	}
}

func TestTooMuchInFlightFailsAtOnceAndRecovers(t *testing.T) {
	t.Parallel()
	h := testHandler(t, func(workload.Hint) bool { return true })
	other := h.budget.reserve("other", maxInFlight, func() {})
	h.budget.keep(other)
	body := podReview(t)
	if answer := post(h, body); answer.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d while full, want 503", answer.Code)
	}
	counted(t, h, dropped)
	h.budget.release(other)
	allowed(t, post(h, body), "0b7c")
	if h.budget.free != maxInFlight {
		t.Error("a request did not give its room back")
	}
}

// slowSender begins to post a review of a size, from an address of its own, and sends no more than its first byte.
func slowSender(t *testing.T, server *httptest.Server, from string, size int) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST "+Path+" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{", size); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestSlowSendersKeepNobodyElseOut(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: other addresses than 127.0.0.1 are Linux's")
	}
	h := testHandler(t, func(workload.Hint) bool { return true })
	server := httptest.NewServer(h)
	t.Cleanup(server.Close) // after the senders have hung up
	for range maxInFlight / maxBody {
		slowSender(t, server, "127.0.0.2", maxBody)
	}
	full := func() bool {
		h.budget.mu.Lock()
		defer h.budget.mu.Unlock()
		return h.budget.free < maxBody
	}
	for deadline := time.Now().Add(10 * time.Second); !full(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("they do not fill the room")
		}
	}
	body := deploymentReview(t, maxBody*7/10, admissionv1.Create)
	response, err := http.Post(server.URL+Path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("a review of another client has status %d", response.StatusCode)
	}
}

// The memory of a large body must not go to a small one that may take its time.
func TestTheMemoryOfLargeBodiesIsNotKept(t *testing.T) {
	t.Parallel()
	h := testHandler(t, func(workload.Hint) bool { return true })
	h.bodies.New = func() any { return new(bytes.Buffer) }
	post(h, deploymentReview(t, 1<<20, admissionv1.Create))
	for range 100 {
		if kept := h.bodies.Get().(*bytes.Buffer).Cap(); kept > maxKept {
			t.Fatalf("%d bytes are kept", kept)
		}
	}
}

func TestABodyThatNeverComesIsGivenUp(t *testing.T) {
	t.Parallel()
	h := testHandler(t, func(workload.Hint) bool { return true })
	server := httptest.NewUnstartedServer(h)
	server.Config.ReadTimeout = 20 * time.Millisecond
	server.Start()
	defer server.Close()
	conn := slowSender(t, server, "127.0.0.1", 100)
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
		t.Errorf("answer %q, error %v, want status 400 and the connection closed", answer, err)
	}
}

func TestMetricsCannotBeRegisteredTwice(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	if _, err := newMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := newMetrics(registry); err == nil {
		t.Error("no error the second time")
	}
}

// Whatever comes in, nothing that goes out denies, and little is allocated.
func FuzzNothingIsEverDenied(f *testing.F) {
	f.Add(podReview(f))
	f.Add(deploymentReview(f, 1<<10, admissionv1.Update))
	for _, seed := range []string{``, `{`, `null`, `[]`, `{"request":{"uid":"7"}}`, `{"request":{"uid":"7","object":{"metadata":`, `{"request":{"uid":"\ud800"}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h := testHandler(t, func(workload.Hint) bool { return true })
		var answer *httptest.ResponseRecorder
		if took := allocated(func() { answer = post(h, body) }); took > 64*len(body)+4<<20 {
			t.Errorf("%d bytes take %d", len(body), took)
		}
		if answer.Code != http.StatusOK {
			if answer.Code < 400 {
				t.Fatalf("status %d is neither an answer nor a failed call", answer.Code)
			}
			return
		}
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(answer.Body.Bytes(), &review); err != nil {
			t.Fatal(err)
		}
		if review.Response == nil || !review.Response.Allowed || review.Response.UID == "" || review.Response.Patch != nil {
			t.Fatalf("answer %s", answer.Body)
		}
	})
}
