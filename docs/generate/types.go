package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pkg is what is documented of a Go package.
type pkg struct {
	types  map[string]structType
	consts []constant
}

type structType struct {
	doc    string
	fields []field
}

type field struct {
	name, typ, doc string
	limits         []string
}

type constant struct{ name, value, doc string }

func parsePackage(dir string) (pkg, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return pkg{}, err
	}
	p := pkg{types: map[string]structType{}}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return pkg{}, err
		}
		if err := p.add(file, text); err != nil {
			return pkg{}, err
		}
	}
	return p, nil
}

func (p *pkg) add(file string, text []byte) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, decl := range parsed.Decls {
		decl, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				p.addType(decl, spec)
			case *ast.ValueSpec:
				p.addConst(decl, spec)
			}
		}
	}
	return nil
}

func (p *pkg) addType(decl *ast.GenDecl, spec *ast.TypeSpec) {
	body, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	doc, _ := describe(cmp.Or(spec.Doc, decl.Doc))
	s := structType{doc: doc}
	for _, f := range body.Fields.List {
		name := jsonName(f)
		if name == "" || name == "metadata" {
			continue
		}
		doc, limits := describe(f.Doc)
		s.fields = append(s.fields, field{name: name, typ: typeName(f.Type), doc: doc, limits: limits})
	}
	p.types[spec.Name.Name] = s
}

func (p *pkg) addConst(decl *ast.GenDecl, spec *ast.ValueSpec) {
	if decl.Tok != token.CONST || len(spec.Values) != 1 {
		return
	}
	literal, ok := spec.Values[0].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return
	}
	value, err := strconv.Unquote(literal.Value)
	if err != nil {
		return
	}
	doc, _ := describe(cmp.Or(spec.Doc, decl.Doc))
	p.consts = append(p.consts, constant{spec.Names[0].Name, value, doc})
}

func jsonName(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, _ := strconv.Unquote(f.Tag.Value)
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	return name
}

// describe splits a comment into its text and the limits that its markers set.
func describe(comment *ast.CommentGroup) (doc string, limits []string) {
	var text []string
	for line := range strings.SplitSeq(comment.Text(), "\n") {
		marker, ok := strings.CutPrefix(line, "+")
		if !ok {
			text = append(text, line)
			continue
		}
		key, value, _ := strings.Cut(strings.TrimPrefix(marker, "kubebuilder:validation:"), "=")
		switch key {
		case "Minimum", "MinLength", "MinItems", "MinProperties":
			limits = append(limits, "at least "+value)
		case "Maximum", "MaxLength", "MaxItems", "MaxProperties":
			limits = append(limits, "at most "+value)
		}
	}
	return strings.Join(strings.Fields(strings.Join(text, " ")), " "), limits
}

// typeName is a type as somebody who writes YAML sees it.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt)
	case *ast.MapType:
		return "map[" + typeName(e.Key) + "]" + typeName(e.Value)
	case *ast.SelectorExpr:
		switch e.Sel.Name {
		case "Duration":
			return "duration"
		case "Time", "UID", "Quantity":
			return strings.ToLower(e.Sel.Name)
		}
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return fmt.Sprintf("%T", e)
}

// page describes a type and, below it, the types of the package that it is made of.
func (p *pkg) page(root string) (string, error) {
	if _, ok := p.types[root]; !ok {
		return "", fmt.Errorf("type %s: not found", root)
	}
	var out strings.Builder
	queue := []string{root}
	for i := 0; i < len(queue); i++ {
		name := queue[i]
		t := p.types[name]
		level := "##"
		if i == 0 {
			level = "#"
		}
		fmt.Fprintf(&out, "%s %s\n\n%s\n\n| Field | Type | Meaning |\n| --- | --- | --- |\n", level, name, t.doc)
		for _, f := range t.fields {
			inner := strings.TrimPrefix(f.typ, "[]")
			typ := "`" + f.typ + "`"
			if _, ok := p.types[inner]; ok {
				typ = fmt.Sprintf("[`%s`](#%s)", f.typ, strings.ToLower(inner))
				if !slices.Contains(queue, inner) {
					queue = append(queue, inner)
				}
			}
			meaning := f.doc
			if len(f.limits) > 0 {
				meaning += " (" + strings.Join(f.limits, ", ") + ")"
			}
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", f.name, typ, cell(meaning))
		}
		out.WriteString("\n")
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// names describes the keys of labels, annotations, conditions and taints: the constants that look like one. Other
// constants that a comment mentions are replaced with their values.
func (p *pkg) names() string {
	byName := map[string]string{}
	for _, c := range p.consts {
		byName[c.name] = "`" + c.value + "`"
	}
	var out strings.Builder
	out.WriteString("# Labels and annotations\n\n| Key | Meaning |\n| --- | --- |\n")
	for _, c := range p.consts {
		if strings.Contains(c.value, "/") {
			doc := word.ReplaceAllStringFunc(strings.TrimPrefix(c.doc, c.name+" "), func(w string) string { return cmp.Or(byName[w], w) })
			if doc != "" {
				doc = strings.ToUpper(doc[:1]) + doc[1:]
			}
			fmt.Fprintf(&out, "| `%s` | %s |\n", c.value, cell(doc))
		}
	}
	return out.String()
}

var word = regexp.MustCompile(`\w+`)

// cell escapes text for a cell of a Markdown table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s) }
