package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

// maxRows is how many groups of nodes are shown; with -o wide it is all nodes, one by one.
const maxRows = 12

func (a *imageAnswer) write(p *page) {
	p.text("IMAGE", a.Image.Image)
	p.line("STATE", a.stateText())
	p.text("", a.Message)
	for i := range a.Retries {
		r := &a.Retries[i]
		p.text("", fmt.Sprintf("class %s: %s in a row, %s", r.NodeClass, plural(int(r.Failures), "failure"), cli.NextTry(r.Time.Time, p.now)))
	}
	if a.Selected != a.Message {
		p.text("", a.Selected)
	}
	p.text("KNOWN AS", a.knownAs(p))
	p.text("SIZE", a.sizeWords())
	p.text("DIGEST", a.Digest)
	p.text("USERS", usersWords(&a.Image))
	if a.Kept != nil {
		p.text("KEPT", keptWords(a.Kept, p.now))
	}
	if a.Starts != nil {
		p.text("STARTS", a.Starts.words())
		p.text("", a.Starts.busiestWords())
	}
	if a.Rank != nil {
		p.text("RANK", fmt.Sprintf("%d of %d: %s", a.Rank.Place, a.Rank.Of, strings.Join(a.Rank.Why, "; ")))
	}
	for i, words := range a.Placements {
		label := "MAY RUN ON"
		if i > 0 {
			label = ""
		}
		p.text(label, words)
	}
	p.text("SECRETS", some(a.PullSecrets, 3))
	a.writeNodes(p)
	p.starts(a.LastStarts, a.LastStartsUnknown)
}

func (a *imageAnswer) stateText() cli.Text {
	state := string(a.State)
	if a.Reason != "" && a.Reason != state {
		state += ": " + a.Reason
	}
	if a.State != inventory.ImageSkipped {
		state += fmt.Sprintf(", on %d of %d nodes", a.Nodes.Ready, a.Nodes.Desired)
	}
	switch a.State {
	case inventory.ImageReady:
		return cli.Good(state)
	case inventory.ImageFailing:
		return cli.Bad(state)
	}
	return cli.Busy(state)
}

func (a *imageAnswer) knownAs(p *page) string {
	words := "PrepullImage " + a.Name
	if a.Declared {
		words += ", declared by a person"
	} else {
		words += ", learned"
	}
	if t := a.FirstSeenTime; t != nil {
		words += ", first seen " + cli.Ago(*t, p.now)
	}
	return words
}

func (a *imageAnswer) sizeWords() string {
	if a.Bytes() == 0 {
		return "not known yet"
	}
	words := v1alpha1.HumanSize(a.Bytes())
	if a.SizeBytes == 0 {
		words += " to download"
	}
	if a.LastPullSeconds > 0 {
		words += fmt.Sprintf(", pulled in %s by the slowest node", cli.Seconds(float64(a.LastPullSeconds)))
	}
	return words
}

func usersWords(i *inventory.Image) string {
	var names, replaced []string
	for _, u := range i.Users {
		name := fmt.Sprintf("%s %s/%s", u.Kind, u.Namespace, u.Name)
		if u.Runs == "" {
			names = append(names, name)
		} else {
			replaced = append(replaced, fmt.Sprintf("%s names it, and its pods run %s in its place", name, u.Runs))
		}
	}
	words := strings.Join(names, ", ")
	switch rest := int(i.UserCount) - len(names); {
	case i.UserCount == 0 && len(names) > 0:
		words = "none now; the last ones were " + words
	case i.UserCount == 0:
		words = "none"
	case rest > 0:
		words = strings.Join(append(names, fmt.Sprintf("and %d more", rest)), ", ")
	}
	return strings.Join(append([]string{words}, replaced...), "; ")
}

// keptWords say why an image is known that nothing uses, and how much longer.
func keptWords(k *inventory.Kept, now time.Time) string {
	left := "the time is over"
	if k.Until.After(now) {
		left = "for " + cli.Seconds(k.Until.Sub(now).Seconds()) + " more"
	}
	switch k.For {
	case inventory.KeptForOptOut:
		return "its users' namespace is not opted in any more: " + left
	case inventory.KeptForRollback:
		if k.By != "" {
			left += "; displaced by " + k.By
		}
		return "for a rollback: " + left
	case inventory.KeptForUsualTime:
		return "because it is likely to start again at its usual time of the week: " + left + " at most"
	case inventory.KeptForTTL:
		return "declared with an end (spec.ttl): " + left
	}
	return "for a while after its users went: " + left
}

// writeNodes shows nodes of which the same is to be said together.
func (a *imageAnswer) writeNodes(p *page) {
	if len(a.OnNodes) == 0 {
		return
	}
	type group struct {
		onNode
		nodes   []string
		slowest float64
	}
	var groups []*group
	for i := range a.OnNodes {
		n := &a.OnNodes[i]
		same := slices.IndexFunc(groups, func(g *group) bool { return g.State == n.State && g.Message == n.Message && !p.wide })
		if same < 0 {
			same = len(groups)
			groups = append(groups, &group{onNode: *n})
		}
		groups[same].nodes = append(groups[same].nodes, n.Node)
		groups[same].slowest = max(groups[same].slowest, n.Seconds)
	}
	table := cli.NewTable("NODES", "STATE", "WAITED", "WHY")
	for _, g := range groups {
		if table.Len() == maxRows && !p.wide {
			break
		}
		waited := ""
		if g.slowest > 0 {
			waited = cli.Seconds(g.slowest)
		}
		table.Row(some(g.nodes, 3), pullState(g.State), waited, g.Message)
	}
	p.table(table)
	if rest := len(groups) - table.Len(); rest > 0 {
		p.line("", cli.Faint(fmt.Sprintf("and %d more: see -o wide", rest)))
	}
}

// placementWords say where the pods of a workload may run.
func placementWords(p *v1alpha1.Placement) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(p.NodeSelector)) {
		words = append(words, key+"="+p.NodeSelector[key])
	}
	if p.NodeAffinity != nil {
		if len(p.NodeAffinity.NodeSelectorTerms) == 0 {
			return "no node"
		}
		var terms []string
		for _, t := range p.NodeAffinity.NodeSelectorTerms {
			terms = append(terms, termWords(t))
		}
		words = append(words, strings.Join(terms, " or "))
	}
	if len(p.Resources) > 0 {
		words = append(words, "the resource "+strings.Join(p.Resources, ", the resource "))
	}
	where := "any node"
	if len(words) > 0 {
		where = "nodes with " + strings.Join(words, ", ")
	}
	if p.RuntimeClassName != "" {
		where += " for RuntimeClass " + p.RuntimeClassName
	}
	return where + tolerationWords(p.Tolerations)
}

func termWords(t corev1.NodeSelectorTerm) string {
	var words []string
	for _, r := range slices.Concat(t.MatchExpressions, t.MatchFields) {
		word := r.Key + " " + string(r.Operator)
		if len(r.Values) > 0 {
			word += " (" + some(r.Values, 5) + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " and ")
}

func tolerationWords(tolerations []corev1.Toleration) string {
	if len(tolerations) == 0 {
		return " without a taint"
	}
	var words []string
	for _, t := range tolerations {
		if t.Key == "" && t.Operator == corev1.TolerationOpExists {
			return ", whatever its taints"
		}
		word := t.Key
		if t.Operator != corev1.TolerationOpExists {
			word += "=" + t.Value
		}
		words = append(words, word)
	}
	return "; tolerated taints: " + strings.Join(words, ", ")
}
