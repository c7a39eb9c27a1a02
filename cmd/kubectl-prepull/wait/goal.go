package wait

import (
	"strconv"
	"strings"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// goal is on how many nodes an image must be: a part of those that are to have it, or a number.
type goal struct {
	percent, nodes int
}

// everywhere is the goal that is the default.
const everywhere = "100%"

// parseGoal reads a percentage or a number of nodes.
func parseGoal(text string) (goal, error) {
	number, percentage := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || percentage && n > 100 {
		return goal{}, cli.Usagef("--for must be a percentage from 1%% to 100%%, or a number of nodes from 1 on, not %q", text)
	}
	if percentage {
		return goal{percent: n}, nil
	}
	return goal{nodes: n}, nil
}

// need is how many of the nodes must have the image, at least one.
func (g goal) need(desired int) int {
	if g.percent == 0 {
		return g.nodes
	}
	return max(1, (desired*g.percent+99)/100)
}
