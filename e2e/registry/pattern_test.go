package registry

import "testing"

func TestTheBestPattern(t *testing.T) {
	t.Parallel()
	all := rules[string]{"*": "everything", "team/*": "team", "team/app*": "apps", "team/app": "app", "single": "single"}
	for name, tc := range map[string]struct {
		rules      rules[string]
		repo, want string
	}{
		"the exact name wins":              {all, "team/app", "app"},
		"then the longest prefix":          {all, "team/app2", "apps"},
		"then a shorter one":               {all, "team/web", "team"},
		"a star alone fits everything":     {all, "web", "everything"},
		"a name is not a prefix":           {rules[string]{"team": "t"}, "team/app", ""},
		"a prefix ends where the star is":  {rules[string]{"team/*": "t"}, "teams/app", ""},
		"an empty pattern fits no one":     {rules[string]{"": "e"}, "app", ""},
		"without rules there is no answer": {nil, "app", ""},
	} {
		for range 20 { // the order of a map must not matter
			got, ok := tc.rules.find(tc.repo)
			if got != tc.want || ok != (tc.want != "") {
				t.Fatalf("%s: %s has %q (%v), want %q", name, tc.repo, got, ok, tc.want)
			}
		}
	}
}
