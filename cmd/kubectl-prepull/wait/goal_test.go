package wait

import "testing"

func TestGoals(t *testing.T) {
	t.Parallel()
	for text, test := range map[string]struct {
		desired, need int
	}{
		"100%": {7, 7}, "1%": {7, 1}, "50%": {7, 4}, "80%": {10, 8}, "81%": {10, 9}, "99%": {1, 1}, "10%": {0, 1},
		"1": {7, 1}, "5": {7, 5}, "9": {7, 9},
	} {
		g, err := parseGoal(text)
		if err != nil || g.need(test.desired) != test.need {
			t.Errorf("%s of %d nodes are %d (%v), want %d", text, test.desired, g.need(test.desired), err, test.need)
		}
	}
	for _, text := range []string{"", "%", "0", "0%", "101%", "-1", "1.5", "all", "50 %", "%50", "99999999999999999999"} {
		if g, err := parseGoal(text); err == nil {
			t.Errorf("%q is %+v", text, g)
		}
	}
}

// Of any number of nodes, a part is never more than all of them and never less than its share.
func TestAPartOfNodes(t *testing.T) {
	t.Parallel()
	for percent := 1; percent <= 100; percent++ {
		for desired := 1; desired <= 250; desired++ {
			need := goal{percent: percent}.need(desired)
			if need > desired || need*100 < desired*percent || (need-1)*100 >= desired*percent {
				t.Fatalf("%d %% of %d are %d", percent, desired, need)
			}
		}
	}
}
