// Package docs_test checks the pages of the project.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root of the repository, and where its files are for those who read them elsewhere.
const (
	root   = ".."
	online = "https://github.com/kube-prepull/kube-prepull/blob/main/"
)

var (
	link       = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	code       = regexp.MustCompile("`[^`]*`")
	onlineLink = regexp.MustCompile(regexp.QuoteMeta(online) + `([\w./-]+(?:#[\w-]+)?)`)
	docsFile   = regexp.MustCompile(`\bdocs/[\w/-]+\.md\b`)
	slugged    = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// TestLinksLeadSomewhere follows every link of every page to its file and heading, and the links and names of pages in
// other files.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, file := range files(t) {
		text := read(t, file)
		if filepath.Ext(file) == ".md" {
			for _, target := range linksOf(text) {
				seen++
				check(t, file, filepath.Dir(file), target)
			}
			continue
		}
		for _, match := range onlineLink.FindAllStringSubmatch(text, -1) {
			seen++
			check(t, file, root, match[1])
		}
		for _, name := range docsFile.FindAllString(text, -1) {
			check(t, file, root, name)
		}
	}
	if seen < 100 {
		t.Errorf("%d links were found: the pages have more", seen)
	}
}

// TestEveryPageIsInTheIndex: what is not in docs/README.md nobody finds.
func TestEveryPageIsInTheIndex(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, target := range linksOf(read(t, "README.md")) {
		listed = append(listed, filepath.Clean(target))
	}
	for _, file := range files(t) {
		page, err := filepath.Rel("../docs", file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(page) == ".md" && !strings.HasPrefix(page, "..") && page != "README.md" && !slices.Contains(listed, page) {
			t.Errorf("docs/README.md does not name %s", page)
		}
	}
}

// TestEveryPictureIsShown, and those of docs/pictures are drawn from a text.
func TestEveryPictureIsShown(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, file := range files(t) {
		if filepath.Ext(file) == ".md" {
			all.WriteString(read(t, file))
		}
	}
	drawn, err := filepath.Glob("*/*.svg")
	if err != nil || len(drawn) == 0 {
		t.Fatalf("%d pictures: %v", len(drawn), err)
	}
	for _, file := range drawn {
		if !strings.Contains(all.String(), filepath.ToSlash(file)+")") {
			t.Errorf("no page shows %s", file)
		}
		if filepath.Dir(file) != "pictures" {
			continue
		}
		if _, err := os.Stat(strings.TrimSuffix(file, ".svg") + ".txt"); err != nil {
			t.Error(err)
		}
	}
}

func TestHeadings(t *testing.T) {
	t.Parallel()
	text := "# Two `words`, and more\n\n```sh\n# no heading\n```\n\n## A [link](a.md): it's here\n\n## Twice\n\n### Twice\n"
	want := []string{"two-words-and-more", "a-link-its-here", "twice", "twice-1"}
	if got := anchors(text); !slices.Equal(got, want) {
		t.Errorf("anchors %q, want %q", got, want)
	}
	links := linksOf("[a](b.md#c) `[no](link)`\n\n    [code](d)\n\n```\n[code](e)\n```\n![f](g.svg)\n")
	if want := []string{"b.md#c", "g.svg"}; !slices.Equal(links, want) {
		t.Errorf("links %q, want %q", links, want)
	}
}

// check that a link of a file leads to a file below a folder, and to a heading there.
func check(t *testing.T, from, folder, target string) {
	t.Helper()
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return
	}
	path, anchor, _ := strings.Cut(target, "#")
	file := from
	if path != "" {
		file = filepath.Join(folder, path)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("%s links to %s: %v", from, target, err)
		return
	}
	if anchor != "" && !slices.Contains(anchors(read(t, file)), anchor) {
		t.Errorf("%s links to %s: there is no such heading", from, target)
	}
}

// prose is a page without its blocks of code.
func prose(text string) []string {
	var lines []string
	fenced := false
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if !fenced && !strings.HasPrefix(line, "    ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func linksOf(text string) []string {
	var found []string
	for _, line := range prose(text) {
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
			found = append(found, match[1])
		}
	}
	return found
}

// anchors of a page, as GitHub makes them of its headings.
func anchors(text string) []string {
	var found []string
	times := map[string]int{}
	for _, line := range prose(text) {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			continue
		}
		heading = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(strings.TrimSpace(heading), "$1")
		anchor := strings.ReplaceAll(slugged.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
		if n := times[anchor]; n > 0 {
			found = append(found, anchor+"-"+strconv.Itoa(n))
		} else {
			found = append(found, anchor)
		}
		times[anchor]++
	}
	return found
}

// files of the repository that may have links, by their paths from here.
func files(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "bin" || strings.HasPrefix(name, ".") && name != ".." && name != ".github" {
				return fs.SkipDir
			}
			return nil
		}
		if slices.Contains([]string{".md", ".go", ".yaml", ".json", ".tpl", ".txt", ".sh"}, filepath.Ext(path)) && !strings.HasSuffix(path, "links_test.go") {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
