package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTypes(t *testing.T) {
	t.Parallel()
	var p pkg
	p.types = map[string]structType{}
	err := p.add("a.go", []byte(`package a

// Shop sells
// things.
//
// +kubebuilder:object:root=true
type Shop struct {
	metav1.TypeMeta   `+"`json:\",inline\"`"+`
	metav1.ObjectMeta `+"`json:\"metadata,omitempty\"`"+`

	// rooms of it, a|b or <c>.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=9
	Rooms []Room `+"`json:\"rooms,omitempty\"`"+`

	// labels of it.
	Labels map[string]string `+"`json:\"labels\"`"+`

	Other Room `+"`json:\"other\"`"+`
	Hidden int
}

// Room is a room.
type Room struct {
	// open says for how long.
	Open *metav1.Duration `+"`json:\"open\"`"+`
}

// LabelShop marks a shop with the value Name.
const LabelShop = "example.com/shop"

// Name is no key.
const Name = "shop"
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.page("Shop")
	if err != nil {
		t.Fatal(err)
	}
	want := `# Shop

Shop sells things.

| Field | Type | Meaning |
| --- | --- | --- |
| ` + "`rooms` | [`[]Room`](#room)" + ` | rooms of it, a\|b or &lt;c>. (at least 1, at most 9) |
| ` + "`labels` | `map[string]string`" + ` | labels of it. |
| ` + "`other` | [`Room`](#room)" + ` |  |

## Room

Room is a room.

| Field | Type | Meaning |
| --- | --- | --- |
| ` + "`open` | `duration`" + ` | open says for how long. |
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	wantNames := "# Labels and annotations\n\n| Key | Meaning |\n| --- | --- |\n" +
		"| `example.com/shop` | Marks a shop with the value `shop`. |\n"
	if diff := cmp.Diff(wantNames, p.names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if _, err := p.page("Missing"); err == nil {
		t.Error("a page of a type that is not there")
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		yaml  string
		want  values
		wrong string
	}{
		"a value has its default and its comment": {
			yaml: "# How many,\n# at most.\ncount: 2\n",
			want: values{{"count", "`2`", "How many, at most."}},
		},
		"a commented mapping is described key by key": {
			yaml: "# An image.\nimage:\n  # Its tag.\n  tag: \"\"\n",
			want: values{{"image", "", "An image."}, {"image.tag", "`\"\"`", "Its tag."}},
		},
		"a mapping that nobody comments is a default": {
			yaml: "# Where.\nselector:\n  os: linux\n",
			want: values{{"selector", "`{\"os\":\"linux\"}`", "Where."}},
		},
		"a group may do without a comment": {
			yaml: "crds:\n  # Stay.\n  keep: true\n",
			want: values{{"crds.keep", "`true`", "Stay."}},
		},
		"a value that nobody describes": {yaml: "count: 2\n", wrong: "count has no comment"},
		"an empty file":                 {yaml: "", wrong: "empty"},
		"no YAML":                       {yaml: "{", wrong: "yaml"},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got, err := parseValues([]byte(tc.yaml))
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Errorf("error %v, want %q", err, tc.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(value{})); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}
