package inventory

// NodeSums counts nodes by state.
type NodeSums struct {
	Total       int `json:"total"`
	Complete    int `json:"complete"`
	Pulling     int `json:"pulling"`
	Failing     int `json:"failing"`
	NotReady    int `json:"notReady"`
	NotSelected int `json:"notSelected"`
}

// SumNodes counts nodes.
func SumNodes(nodes []Node) NodeSums {
	var sums NodeSums
	for i := range nodes {
		sums.add(nodes[i].State)
	}
	return sums
}

func (s *NodeSums) add(state NodeState) {
	s.Total++
	switch state {
	case NodeComplete:
		s.Complete++
	case NodePulling:
		s.Pulling++
	case NodeFailing:
		s.Failing++
	case NodeNotReady:
		s.NotReady++
	case NodeNotSelected:
		s.NotSelected++
	}
}

// Waiting is how many nodes are waited for.
func (s *NodeSums) Waiting() int { return s.Complete + s.Pulling + s.Failing }

// ImageSums counts images by state.
type ImageSums struct {
	Total   int `json:"total"`
	Ready   int `json:"ready"`
	Pulling int `json:"pulling"`
	Pending int `json:"pending"`
	Failing int `json:"failing"`
	Skipped int `json:"skipped"`
}

// SumImages counts images.
func SumImages(images []Image) ImageSums {
	sums := ImageSums{Total: len(images)}
	for i := range images {
		switch images[i].State {
		case ImageReady:
			sums.Ready++
		case ImagePulling:
			sums.Pulling++
		case ImagePending:
			sums.Pending++
		case ImageFailing:
			sums.Failing++
		case ImageSkipped:
			sums.Skipped++
		}
	}
	return sums
}

// Class is the nodes that have one list of images.
type Class struct {
	Name string `json:"name"`

	// ImageCount is the length of its list.
	ImageCount int `json:"imageCount"`

	// Nodes counts its nodes.
	Nodes NodeSums `json:"nodes"`

	// PullCount is how many images its nodes are to have, the nodes that nobody waits for left out, and PullsDone how many
	// of these are there.
	PullCount int `json:"pullCount"`
	PullsDone int `json:"pullsDone"`
}

// Done tells whether all nodes that are waited for are warm.
func (c *Class) Done() bool { return c.Nodes.Complete == c.Nodes.Waiting() }

// Share is how much of what its nodes are to have is there, from 0 to 1.
func (c *Class) Share() float64 {
	if c.PullCount == 0 {
		return 1
	}
	return float64(c.PullsDone) / float64(c.PullCount)
}

// Classes are the classes of nodes, by name.
func (f *Fleet) Classes(nodes []Node) []Class {
	classes := make([]Class, len(f.lists))
	position := make(map[string]int, len(f.lists))
	for i, l := range f.lists {
		classes[i] = Class{Name: l.class, ImageCount: len(l.images)}
		position[l.class] = i
	}
	for i := range nodes {
		n := &nodes[i]
		if n.Class == "" {
			continue
		}
		c := &classes[position[n.Class]]
		c.Nodes.add(n.State)
		if n.State != NodeNotReady {
			c.PullCount += n.ImageCount
			c.PullsDone += n.ReadyCount
		}
	}
	return classes
}
