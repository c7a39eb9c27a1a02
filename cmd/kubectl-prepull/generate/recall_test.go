package generate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHowManyImagesAreFound counts on inputs in the shape of public ones: images that run and are found, that run and are
// not, and that are found and do not run. A comment in each input says which run.
func TestHowManyImagesAreFound(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	run, found, right := 0, 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(string(text)) {
			if image, says := strings.CutPrefix(line, "# runs: "); says {
				want = append(want, strings.TrimSpace(image))
			}
		}
		flag := "-f"
		if strings.HasPrefix(filepath.Base(file), "values") {
			flag = "--helm-values"
		}
		got, messages, code := generated(t, "", "", flag, file)
		if code != 0 {
			t.Errorf("%s ends with %d:\n%s", file, code, messages)
		}
		hits := 0
		for _, image := range got {
			if slices.Contains(want, image) {
				hits++
			} else {
				t.Errorf("%s: %s does not run", file, image)
			}
		}
		for _, image := range want {
			name, _, _ := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
			if !slices.Contains(got, image) && !strings.Contains(messages, name) {
				t.Errorf("%s: %s is missed without a note", file, image)
			}
		}
		run, found, right = run+len(want), found+len(got), right+hits
	}
	t.Logf("%d inputs: %d of %d images that run are found (recall %.2f), %d of %d that are found run (precision %.2f)",
		len(files), right, run, float64(right)/float64(run), right, found, float64(right)/float64(found))
	if right*100 < run*85 || right != found {
		t.Errorf("%d of %d images that run are found, and %d that do not", right, run, found-right)
	}
}
