package nodeclass

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// classify divides nodes for images of nobody in particular.
func classify(nodes []corev1.Node, placements [][]v1alpha1.Placement, max int, now time.Time) classification {
	images := make([]Image, len(placements))
	for i, p := range placements {
		images[i].Placements = p
	}
	return Classify(nodes, images, max, now)
}

const restricted = "node-restriction.kubernetes.io/"

// by is an image of some namespaces, with commas between, whose users each mention a label.
func by(namespaces string, keys ...string) Image {
	return Image{Namespaces: strings.Split(namespaces, ","), Placements: mentions(keys...)[0]}
}

// grid are nodes with all combinations of labels: of each key, values 0, 1 and so on, as many as it says.
func grid(values map[string]int) []corev1.Node {
	nodes := [][]string{{}}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		var next [][]string
		for _, node := range nodes {
			for i := range values[key] {
				next = append(next, append(slices.Clone(node), fmt.Sprintf("%s=%d", key, i)))
			}
		}
		nodes = next
	}
	all := make([]corev1.Node, len(nodes))
	for i, node := range nodes {
		all[i] = nodeWith(fmt.Sprintf("node-%03d", i), node...)
	}
	return all
}

// labelled gives all nodes a label.
func labelled(nodes []corev1.Node, label string) []corev1.Node {
	key, value, _ := strings.Cut(label, "=")
	for i := range nodes {
		nodes[i].Labels[key] = value
	}
	return nodes
}

func TestWhoPaysForTooManyClasses(t *testing.T) {
	t.Parallel()
	same := make([]string, 70)
	for i := range same {
		same[i] = fmt.Sprintf("a-same-%02d", i)
	}
	pools := grid(map[string]int{"zz/pool": 2, "zone": 3})
	for _, key := range same {
		labelled(pools, key+"=x")
	}
	for name, tc := range map[string]struct {
		nodes   []corev1.Node
		images  []Image
		max     int
		ignored []string
	}{
		"keys that all nodes have alike count for nothing": {pools, []Image{by("a", same...), by("b", "zz/pool", "zone")}, 30, nil},
		"nor if there is no room for what tells apart":     {pools, []Image{by("a", same...), by("b", "zz/pool", "zone")}, 3, []string{"zone"}},
		"what tells nothing apart takes no turn":           {labelled(grid(map[string]int{"rack": 4, "pool": 4}), "a-same=x"), []Image{by("a", "rack"), by("b", "a-same", "pool")}, 4, []string{"rack"}},
		"who asks for more pays":                           {grid(map[string]int{"a": 2, "b": 2, "c": 2, "pool": 4}), []Image{by("a", "a", "b", "c"), by("b", "pool")}, 8, []string{"b", "c"}},
		"what most ask for stays":                          {grid(map[string]int{"rack": 2, "pool": 4}), []Image{by("a", "rack"), by("b", "pool"), by("c", "pool")}, 4, []string{"rack"}},
		"among equals what makes fewer classes":            {grid(map[string]int{"rack": 4, "pool": 2}), []Image{by("a", "rack"), by("b", "pool")}, 4, []string{"rack"}},
		"a label that nodes may not set stays":             {grid(map[string]int{"rack": 2, restricted + "pool": 4}), []Image{by("a", "rack"), by("c", "rack"), by("b", restricted+"pool")}, 4, []string{"rack"}},
		"with a prefix before it too":                      {grid(map[string]int{"rack": 2, "b." + restricted + "pool": 4}), []Image{by("a", "rack"), by("c", "rack"), by("b", "b."+restricted+"pool")}, 4, []string{"rack"}},
		"one that looks like it does not":                  {grid(map[string]int{"rack": 2, "not-" + restricted + "pool": 4}), []Image{by("a", "rack"), by("c", "rack"), by("b", "not-"+restricted+"pool")}, 4, []string{"not-" + restricted + "pool"}},
		"of too many such labels who asks for more pays":   {grid(map[string]int{restricted + "a": 2, restricted + "b": 2, restricted + "pool": 4}), []Image{by("a", restricted+"a", restricted+"b"), by("b", restricted+"pool")}, 8, []string{restricted + "b"}},
		"who joins an image of another speaks for himself": {grid(map[string]int{"a": 2, "b": 2, "c": 2, "pool": 4}), []Image{by("a,b", "a", "b", "c"), by("b", "pool")}, 8, []string{"b", "c"}},
		"taints go before what namespaces ask for":         {[]corev1.Node{nodeWith("1", "t=1:NoSchedule", "pool=1"), nodeWith("2", "t=2:NoSchedule", "pool=2")}, []Image{by("a", "pool")}, 2, nil},
		"two labels that say the same cost as much as one": {[]corev1.Node{nodeWith("1", "pool=1", "also=1"), nodeWith("2", "pool=2", "also=2")}, []Image{by("a", "pool"), by("b", "also")}, 2, nil},
		"what nobody carries is not left out":              {grid(map[string]int{"pool": 2}), []Image{by("a", "pool", "far")}, 1, []string{"pool"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Classify(tc.nodes, tc.images, tc.max, prepulltest.Noon)
			if diff := cmp.Diff(tc.ignored, got.ignoredKeys); diff != "" || len(got.Classes) > tc.max {
				t.Errorf("%d classes, ignored (-want +got):\n%s", len(got.Classes), diff)
			}
		})
	}
}

// TestNobodyMergesTheNodesOfOthers has namespaces with one key each beside one that asks for anything, also with images of the
// others. What they ask for tells classes apart if there is room for one key of each; if nodes may not set it, that of the
// greedy one needs no room.
func TestNobodyMergesTheNodesOfOthers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 3))
		prefix := []string{"", restricted}[seed%2]
		victims := 1 + random.IntN(2)
		keys := []string{prefix + "key-0", prefix + "key-1"}[:victims]
		for i := range 6 {
			keys = append(keys, fmt.Sprintf("%c-other", 'a'+4*i))
		}
		nodes := make([]corev1.Node, 200)
		for i := range nodes {
			nodes[i] = nodeWith(fmt.Sprint("node-", i))
			for k, key := range keys {
				if value := random.IntN(3 + k%2); value > 0 {
					nodes[i].Labels[key] = fmt.Sprint(value)
				}
			}
		}
		var images []Image
		room := 1
		for v := range victims {
			images = append(images, by(fmt.Sprint("victim-", v), keys[v]))
			room *= 3 + v%2
		}
		if prefix == "" {
			room *= 4
		}
		for range random.IntN(12) {
			greedy := by("greedy", keys[random.IntN(len(keys))], keys[victims+random.IntN(6)], keys[victims+random.IntN(6)])
			if random.IntN(3) == 0 {
				greedy.Namespaces = []string{"greedy", "victim-0"}
			}
			images = append(images, greedy)
		}
		random.Shuffle(len(images), func(i, j int) { images[i], images[j] = images[j], images[i] })
		got := Classify(nodes, images, room, prepulltest.Noon)
		for _, key := range keys[:victims] {
			if slices.Contains(got.ignoredKeys, key) {
				t.Errorf("seed %d: %s is ignored, with room for %d classes", seed, key, room)
			}
		}
	}
}

func TestPullSecretsStayWithTheirNodes(t *testing.T) {
	t.Parallel()
	secret := func(name string) v1alpha1.SecretReference {
		return v1alpha1.SecretReference{Namespace: "shop", Name: name}
	}
	using := func(name string, selectors ...map[string]string) Image {
		i := Image{Namespaces: []string{"shop"}, PullSecrets: []v1alpha1.SecretReference{secret(name)}}
		for _, s := range selectors {
			i.Placements = append(i.Placements, v1alpha1.Placement{NodeSelector: s})
		}
		return i
	}
	pool := func(n string) map[string]string { return map[string]string{"pool": n} }
	for name, tc := range map[string]struct {
		images []Image
		max    int
		want   bool
	}{
		"classes of their own":                       {[]Image{using("login", pool("0"))}, 3, false},
		"too many classes":                           {[]Image{using("login", pool("0"))}, 2, true},
		"users who may run on all nodes":             {[]Image{using("login", pool("0"), pool("1"), pool("2"))}, 2, false},
		"users of several images who may":            {[]Image{using("login", pool("0"), pool("1")), using("login", pool("2"))}, 2, false},
		"users who may run anywhere":                 {[]Image{using("login"), using("other", pool("0"))}, 2, false},
		"users without this secret may":              {[]Image{using("login", pool("0")), using("other")}, 2, true},
		"users of one node, of those that are alike": {[]Image{using("login", map[string]string{corev1.LabelHostname: "node-000"})}, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Classify(grid(map[string]int{"pool": 3}), tc.images, tc.max, prepulltest.Noon)
			for _, c := range got.Classes {
				if c.Fits(0) && c.Withholds(secret("login")) != tc.want {
					t.Errorf("withheld from %v: %v", nodeNames(c.Nodes), !tc.want)
				}
			}
		})
	}
}
