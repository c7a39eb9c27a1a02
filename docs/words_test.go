package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// wordTypes are the types of the states that the plugin prints.
var wordTypes = []string{"ImageState", "NodeState", "PullState"}

// nothingWrong are words that nobody has to do anything about.
var nothingWrong = []string{"Ready", "Complete", "WithinBudget", "NoFailure", "OnEveryNode", "ImagesPresent", "NothingToPull"}

// notShown are words that stay inside: the message says it in other words.
var notShown = []string{"ImagePullBackOff", "NoRoom"}

// answers are the functions whose sentences the plugin prints, by the file that they are in.
var answers = map[string][]string{
	"cmd/kubectl-prepull/explain/find.go":    {"Error", "find"},
	"cmd/kubectl-prepull/explain/image.go":   {"standing", "queueWords", "whyNotListed", "whoUses"},
	"cmd/kubectl-prepull/explain/pod.go":     {"noPod", "why"},
	"cmd/kubectl-prepull/inventory/fleet.go": {"notReady"},
	"cmd/kubectl-prepull/inventory/image.go": {"stateOf"},
	"cmd/kubectl-prepull/inventory/node.go":  {"nodeOf", "Unable", "doing"},
	"cmd/kubectl-prepull/status/problem.go":  {"managerProblems"},
	"cmd/kubectl-prepull/wait/manager.go":    {"pulls"},
	"cmd/kubectl-prepull/wait/selected.go":   {"choose", "selectedOf"},
	"cmd/kubectl-prepull/wait/standing.go":   {"standingOf"},
	"prepull/nodeclass/unfit.go":             {"WhyNowhere", "Unfit"},
}

var (
	reasonWord = regexp.MustCompile(`^[A-Z][A-Za-z]+$`)
	verb       = regexp.MustCompile(`%[a-z]`)
	letters    = regexp.MustCompile(`[A-Za-z]+`)
)

// TestTroubleshootingHasEveryWord: each state and reason that the plugin shows has a row, and each sentence of an answer.
func TestTroubleshootingHasEveryWord(t *testing.T) {
	t.Parallel()
	page := read(t, "troubleshooting.md")
	var named []string
	for _, message := range messagesOf(page) {
		named = append(named, letters.FindAllString(message, -1)...)
	}
	words := wordsOfTheCode(t)
	if len(words) < 40 {
		t.Errorf("%d words were found: the code has more", len(words))
	}
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if !slices.Contains(nothingWrong, word) && !slices.Contains(notShown, word) && !slices.Contains(named, word) {
			t.Errorf("docs/troubleshooting.md has no row for %s (%s)", word, words[word])
		}
	}
	for _, word := range slices.Concat(nothingWrong, notShown) {
		if words[word] == "" {
			t.Errorf("the code has no word %s", word)
		}
	}
	for _, words := range sentencesOfTheCode(t) {
		if !strings.Contains(page, words) {
			t.Errorf("docs/troubleshooting.md does not have %q", words)
		}
	}
}

// sentencesOfTheCode are those of all answers.
func sentencesOfTheCode(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, file := range slices.Sorted(maps.Keys(answers)) {
		sentences := sentencesOf(t, file, answers[file])
		if len(sentences) == 0 {
			t.Errorf("%s has no sentence in %q", file, answers[file])
		}
		all = append(all, sentences...)
	}
	return all
}

// wordsOfTheCode are the states of images and nodes, the causes of failures, and the reasons of conditions; with the file of each.
func wordsOfTheCode(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, folder := range []string{"prepull/plan", "prepull/warmth", "cmd/kubectl-prepull/inventory", "cmd/kubectl-prepull/explain"} {
		files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has %d files: %v", folder, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			ast.Inspect(parse(t, file), func(n ast.Node) bool {
				for _, e := range wordsIn(n) {
					if word := literal(e); reasonWord.MatchString(word) {
						found[word] = file
					}
				}
				return true
			})
		}
	}
	return found
}

// wordsIn a piece of code are the expressions that are states, causes or reasons.
func wordsIn(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.ValueSpec:
		name := n.Names[0].Name
		if slices.Contains(wordTypes, typeName(n.Type)) || strings.HasPrefix(strings.ToLower(name), "skipped") || strings.HasPrefix(name, "State") {
			return n.Values
		}
	case *ast.CompositeLit:
		if slices.Contains([]string{"Cause", "refusal"}, typeName(n.Type)) && len(n.Elts) > 0 {
			return n.Elts[:1]
		}
	case *ast.KeyValueExpr:
		if key, _ := n.Key.(*ast.Ident); key != nil && key.Name == "Reason" {
			return []ast.Expr{n.Value}
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if selector, _ := left.(*ast.SelectorExpr); selector != nil && selector.Sel.Name == "Reason" && len(n.Rhs) == len(n.Lhs) {
				return n.Rhs[i : i+1]
			}
		}
	case *ast.ReturnStmt:
		if len(n.Results) == 3 { // a state, its reason and its message
			return n.Results[1:2]
		}
	}
	return nil
}

// typeName is the name of a type, without its package.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// sentencesOf functions are the longest pieces of their texts that stay the same.
func sentencesOf(t *testing.T, file string, functions []string) []string {
	t.Helper()
	var found []string
	seen := map[string]bool{}
	for _, declared := range parse(t, filepath.Join(root, file)).Decls {
		f, _ := declared.(*ast.FuncDecl)
		if f == nil || !slices.Contains(functions, f.Name.Name) {
			continue
		}
		seen[f.Name.Name] = true
		ast.Inspect(f.Body, func(n ast.Node) bool {
			e, _ := n.(ast.Expr)
			longest := ""
			for _, piece := range verb.Split(literal(e), -1) {
				if piece = strings.Trim(piece, " ,;:()=\n"); len(piece) > len(longest) {
					longest = piece
				}
			}
			if strings.Contains(longest, " ") && !strings.HasPrefix(longest, "looking for") {
				found = append(found, longest)
			}
			return true
		})
	}
	for _, name := range functions {
		if !seen[name] {
			t.Errorf("%s has no function %s", file, name)
		}
	}
	return found
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// literal is the text of a string in the code, empty if it is something else.
func literal(e ast.Expr) string {
	l, _ := e.(*ast.BasicLit)
	if l == nil || l.Kind != token.STRING {
		return ""
	}
	text, err := strconv.Unquote(l.Value)
	if err != nil {
		return ""
	}
	return text
}
