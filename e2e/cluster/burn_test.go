package cluster

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " 0 0 20 0 1 0 177559 3133440 360"
	for name, c := range map[string]struct {
		stat   string
		parent int
		used   time.Duration
		fails  bool
	}{
		"user and system time, and that of ended children, in hundredths of a second": {
			stat: "750 (kube-apiserver) S 738 750 738 0 -1 4194304 98 0 0 0 300 20 4 1" + rest, parent: 738, used: 3250 * time.Millisecond},
		"a name may hold brackets and spaces": {
			stat: "7 (a) S 1 (b)) R 5 7 7 0 -1 0 0 0 0 0 1 0 0 0" + rest, parent: 5, used: 10 * time.Millisecond},
		"what is cut off is an error":    {stat: "7 (a) S 1 7 7", fails: true},
		"what is no number is an error":  {stat: "7 (a) S 1 7 7 0 -1 0 0 0 0 0 x 0 0 0" + rest, fails: true},
		"what has no name is an error":   {stat: "", fails: true},
		"a parent that is none is wrong": {stat: "7 (a) S x 7 7 0 -1 0 0 0 0 0 1 0 0 0" + rest, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			parent, used, err := parseStat(c.stat)
			if (err != nil) != c.fails || !c.fails && (parent != c.parent || used != c.used) {
				t.Errorf("parseStat(%q) = %d, %s, %v", c.stat, parent, used, err)
			}
		})
	}
}
