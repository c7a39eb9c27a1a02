package fair

import "testing"

func TestShares(t *testing.T) {
	t.Parallel()
	s := Shares{}
	if s.Most() != "" {
		t.Error("somebody has something")
	}
	s.Add("a", 3)
	s.Add("c", 5)
	s.Add("b", 5)
	if got := s.Most(); got != "b" {
		t.Errorf("%s has the most, want b", got)
	}
	for name, test := range map[string]struct {
		client, to string
		n          int64
		want       bool
	}{
		"to one that has less":             {"b", "a", 1, true},
		"not to one that would have equal": {"b", "a", 2, false},
		"not to one that has as much":      {"b", "c", 1, false},
		"to a new one":                     {"a", "new", 2, true},
		"not to itself":                    {"b", "b", 1, false},
	} {
		if got := s.GivesWay(test.client, test.to, test.n); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	s.Add("b", -5)
	if _, found := s["b"]; found {
		t.Error("who has nothing is counted")
	}
}
