package untaint_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/untaint"
)

// nodeServer is an API server with one node, and somebody who writes it between every read and the patch that follows.
type nodeServer struct {
	node     corev1.Node
	stranger func(n *corev1.Node, patches int)

	// refuses is a policy that lets nobody patch the node.
	refuses bool

	patches int
}

func (s *nodeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any = &s.node
	code := http.StatusOK
	switch {
	case path.Base(r.URL.Path) == "nodes":
		list := &corev1.NodeList{}
		if of := r.URL.Query().Get("fieldSelector"); of == "" || of == "metadata.name="+s.node.Name {
			list.Items = []corev1.Node{s.node}
		}
		answer = list
	case path.Base(r.URL.Path) != s.node.Name:
		answer, code = apierrors.NewNotFound(corev1.Resource("nodes"), path.Base(r.URL.Path)).Status(), http.StatusNotFound
	case r.Method == http.MethodPatch:
		s.patches++
		s.node.ResourceVersion = fmt.Sprint(s.patches)
		s.stranger(&s.node, s.patches)
		if err := s.patch(r); err != nil {
			// What the API server makes of every JSON patch that cannot be applied, and by default of one that a policy denies.
			code = http.StatusUnprocessableEntity
			answer = apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", err.Error(), 0, false).Status()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // who hangs up needs no answer
}

func (s *nodeServer) patch(r *http.Request) error {
	if s.refuses {
		return fmt.Errorf("denied")
	}
	if got := r.Header.Get("Content-Type"); got != string(types.JSONPatchType) {
		return fmt.Errorf("a patch of type %s", got)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	patch, err := jsonpatch.DecodePatch(body)
	if err != nil {
		return err
	}
	before, err := json.Marshal(s.node)
	if err != nil {
		return err
	}
	after, err := patch.Apply(before)
	if err != nil {
		return err
	}
	s.node = corev1.Node{}
	return json.Unmarshal(after, &s.node)
}

func (s *nodeServer) client(t *testing.T) client.Client {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	c, err := client.New(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}},
		client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	ourTaint   = corev1.Taint{Key: "k", Effect: corev1.TaintEffectNoSchedule}
	otherTaint = corev1.Taint{Key: "other", Effect: corev1.TaintEffectNoExecute}
)

func TestATaintGoesWhateverOthersWrite(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		taints   []corev1.Taint
		stranger func(n *corev1.Node, patches int)
		refuses  bool

		had, fails bool
		patches    int
		want       []corev1.Taint
	}{
		"a node without it is not written": {taints: []corev1.Taint{otherTaint}, want: []corev1.Taint{otherTaint}},
		"the last taint":                   {taints: []corev1.Taint{ourTaint}, had: true, patches: 1},
		"one between others": {
			taints: []corev1.Taint{otherTaint, ourTaint, otherTaint}, had: true, patches: 1, want: []corev1.Taint{otherTaint, otherTaint},
		},
		"who writes anything else costs nothing": {
			taints:   []corev1.Taint{otherTaint, ourTaint},
			stranger: func(n *corev1.Node, patches int) { n.Annotations = map[string]string{"writes": fmt.Sprint(patches)} },
			had:      true, patches: 1, want: []corev1.Taint{otherTaint},
		},
		"who adds taints before it ten times makes it try again": {
			taints: []corev1.Taint{ourTaint},
			stranger: func(n *corev1.Node, patches int) {
				if patches <= 10 {
					n.Spec.Taints = slices.Insert(n.Spec.Taints, 0, otherTaint)
				}
			},
			had: true, patches: 11, want: slices.Repeat([]corev1.Taint{otherTaint}, 10),
		},
		"who gives it another effect makes it try again": {
			taints:   []corev1.Taint{ourTaint},
			stranger: func(n *corev1.Node, _ int) { n.Spec.Taints[0].Effect = corev1.TaintEffectNoExecute },
			had:      true, patches: 2,
		},
		"who takes it first has done the work": {
			taints:   []corev1.Taint{ourTaint, otherTaint},
			stranger: func(n *corev1.Node, _ int) { n.Spec.Taints = []corev1.Taint{otherTaint} },
			had:      true, patches: 1, want: []corev1.Taint{otherTaint},
		},
		"another node of the same name is untainted too": {
			taints:   []corev1.Taint{ourTaint},
			stranger: func(n *corev1.Node, _ int) { n.UID = "another" },
			had:      true, patches: 2,
		},
		"a node that is gone is an error": {
			taints:   []corev1.Taint{ourTaint},
			stranger: func(n *corev1.Node, _ int) { n.Name, n.UID = "b", "b" },
			had:      true, fails: true, patches: 1, want: []corev1.Taint{ourTaint},
		},
		"a policy that refuses is not asked again": {taints: []corev1.Taint{ourTaint}, refuses: true, had: true, fails: true, patches: 1, want: []corev1.Taint{ourTaint}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &nodeServer{stranger: test.stranger, refuses: test.refuses}
			if s.stranger == nil {
				s.stranger = func(*corev1.Node, int) {}
			}
			s.node.Name, s.node.UID, s.node.Spec.Taints = "a", "u", test.taints
			c := s.client(t)
			var n corev1.Node
			if err := c.Get(t.Context(), client.ObjectKey{Name: "a"}, &n); err != nil {
				t.Fatal(err)
			}
			had, err := untaint.Node(t.Context(), c, &n, "k")
			if had != test.had || (err != nil) != test.fails || s.patches != test.patches {
				t.Errorf("had it: %t, error %v, %d patches", had, err, s.patches)
			}
			var after corev1.Node
			if err := c.Get(t.Context(), client.ObjectKey{Name: s.node.Name}, &after); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, after.Spec.Taints); diff != "" {
				t.Errorf("taints (-want +got):\n%s", diff)
			}
		})
	}
}

// The patch holds where the taints are, and whose: it is compared with what the API server has.
func TestUntaintPatch(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		taints map[int]corev1.Taint
		want   string
	}{
		"one taint": {
			map[int]corev1.Taint{1: ourTaint},
			`[{"op":"test","path":"/metadata/uid","value":"u"},` +
				`{"op":"test","path":"/spec/taints/1/key","value":"k"},{"op":"test","path":"/spec/taints/1/effect","value":"NoSchedule"},` +
				`{"op":"remove","path":"/spec/taints/1"}]`,
		},
		"several go from the end": {
			map[int]corev1.Taint{10: {Key: "k", Effect: "NoExecute"}, 2: ourTaint},
			`[{"op":"test","path":"/metadata/uid","value":"u"},` +
				`{"op":"test","path":"/spec/taints/2/key","value":"k"},{"op":"test","path":"/spec/taints/2/effect","value":"NoSchedule"},` +
				`{"op":"test","path":"/spec/taints/10/key","value":"k"},{"op":"test","path":"/spec/taints/10/effect","value":"NoExecute"},` +
				`{"op":"remove","path":"/spec/taints/10"},{"op":"remove","path":"/spec/taints/2"}]`,
		},
	} {
		if diff := cmp.Diff(test.want, string(untaint.Patch("u", test.taints))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
