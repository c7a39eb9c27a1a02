package plan

// Complete tells whether a node has all images of its list.
func (cp *ClassPlan) Complete(node string) bool {
	for _, e := range cp.List {
		if !cp.Warmth.Images[e.Name].Has(node) {
			return false
		}
	}
	return true
}

// Failing tells whether something holds up a node's list.
func (cp *ClassPlan) Failing(node string) bool {
	if _, broken := cp.Warmth.Broken[node]; broken {
		return true
	}
	for _, e := range cp.List {
		if _, failed := cp.Warmth.Images[e.Name].Failed[node]; failed {
			return true
		}
	}
	return false
}
