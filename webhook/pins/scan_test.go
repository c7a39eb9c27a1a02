package pins

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzDecodeText reads any value as encoding/json does.
func FuzzDecodeText(f *testing.F) {
	for _, value := range []string{
		`"app:v1"`, `""`, `"`, `"a\"b"`, `"tab\t"`, `"é"`, "\"\xff\"", "\"\x01\"", "\"\x7f\"", `"caf\u00e9"`,
		`null`, `1`, `true`, `{"a":"b"}`, `["a"]`, `"a" "b"`, `"` + strings.Repeat("x", MaxValue) + `"`,
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, want := "before", "before"
		gotErr := DecodeText(&Cursor{Raw: []byte(value)}, &got)
		wantErr := (&Cursor{Raw: []byte(value)}).Decode(&want)
		if (gotErr == nil) != (wantErr == nil) || gotErr == nil && got != want {
			t.Errorf("%q: %q, %v; want %q, %v", value, got, gotErr, want, wantErr)
		}
		var full string
		if json.Unmarshal([]byte(value), &full) == nil && len(value) <= MaxValue && value[0] == '"' && (gotErr != nil || got != full) {
			t.Errorf("%q: %q, %v; want %q", value, got, gotErr, full)
		}
	})
}
