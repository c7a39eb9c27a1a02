package measure

import (
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/pulled"
)

// timeline is how a pod of the experiment started. Its times are those at which the news came in.
type timeline struct {
	created   time.Time // the API server has taken the pod
	scheduled time.Time // the scheduler has found its node
	sandbox   time.Time // the kubelet has made its sandbox and begins with containers
	prepared  time.Time // noop is in place, and the kubelet looks for the image
	ready     time.Time // the image is there
	started   time.Time // the container runs

	image pulled.Image // what the kubelet says of the image
	named bool         // it has said it
}

// complete tells whether nothing is missing that a start needs.
func (t *timeline) complete() bool {
	return t.named && !t.started.IsZero()
}

// Start is how one pod started: its steps one after the other.
type Start struct {
	// Pod is its name; it is deleted by now.
	Pod string `json:"pod"`

	// Cold is true if the kubelet pulled the image, and false if it was there.
	Cold bool `json:"cold"`

	// ScheduledSeconds went by from creating the pod to its having a node.
	ScheduledSeconds float64 `json:"scheduledSeconds"`

	// SandboxSeconds went by from there to the pod's sandbox, with its network, being there.
	SandboxSeconds float64 `json:"sandboxSeconds"`

	// PreparationSeconds went by with a step that is the experiment's own. It is not part of StartUpSeconds.
	PreparationSeconds float64 `json:"preparationSeconds"`

	// PulledSeconds is what the container waited for its image, as the kubelet says; 0 if the image was there.
	PulledSeconds float64 `json:"pulledSeconds"`

	// QueueSeconds is the part of PulledSeconds in which other pulls of the node went first.
	QueueSeconds float64 `json:"queueSeconds"`

	// StartedSeconds went by from the image being there to the container running.
	StartedSeconds float64 `json:"startedSeconds"`

	// StartUpSeconds are the steps that every pod with this image has once it is scheduled: sandbox, pulled and started.
	StartUpSeconds float64 `json:"startUpSeconds"`
}

// start of a complete timeline. A piece of news that overtook another makes a step 0, not negative.
func (t *timeline) start(pod string) Start {
	s := Start{
		Pod:                pod,
		Cold:               !t.image.Present,
		ScheduledSeconds:   between(t.created, t.scheduled),
		SandboxSeconds:     between(t.scheduled, t.sandbox),
		PreparationSeconds: between(t.sandbox, t.prepared),
		PulledSeconds:      seconds(t.image.Waited),
		QueueSeconds:       seconds(t.image.Waited - t.image.Took),
		StartedSeconds:     between(t.ready, t.started),
	}
	s.StartUpSeconds = thousandths(s.SandboxSeconds + s.PulledSeconds + s.StartedSeconds)
	return s
}

func between(from, to time.Time) float64 {
	return seconds(max(0, to.Sub(from)))
}

// Experiment is what measure run found out about an image.
type Experiment struct {
	Image     string `json:"image"`
	Node      string `json:"node"`
	SizeBytes int64  `json:"sizeBytes,omitempty"`

	// Starts of pods, in the order in which they were made.
	Starts []Start `json:"starts"`

	// ColdSeconds and WarmSeconds are the medians of the start-ups; 0 if there was none.
	ColdSeconds float64 `json:"coldSeconds"`
	WarmSeconds float64 `json:"warmSeconds"`

	// Ratio is ColdSeconds to WarmSeconds; 0 unless there were both.
	Ratio float64 `json:"ratio"`

	// Notes say why something is missing.
	Notes []string `json:"notes"`
}

// conclude computes what follows from the starts.
func (x *Experiment) conclude() {
	var cold, warm []float64
	for _, s := range x.Starts {
		if s.Cold {
			cold = append(cold, s.StartUpSeconds)
		} else {
			warm = append(warm, s.StartUpSeconds)
		}
	}
	if x.alwaysPulls() {
		x.Notes = append(x.Notes, "There is nothing to compare: the cluster asks the registry at every start, as the admission plugin AlwaysPullImages makes it, "+
			"and the kubelet does not tell then whether the image was there.")
		return
	}
	if len(cold) == 0 {
		x.Notes = append(x.Notes, "There is no cold start: node "+x.Node+" has the image, and this program removes none. "+
			"Name with --node a node that has never run it, or measure a tag or digest that is new to the cluster.")
	}
	x.ColdSeconds, x.WarmSeconds = thousandths(median(cold)), thousandths(median(warm))
	if x.ColdSeconds > 0 && x.WarmSeconds > 0 {
		x.Ratio = thousandths(x.ColdSeconds / x.WarmSeconds)
	}
}

// warm is how many starts found the image on the node.
func (x *Experiment) warm() int {
	n := 0
	for _, s := range x.Starts {
		if !s.Cold {
			n++
		}
	}
	return n
}

// alwaysPulls tells whether the image was pulled although it was there: the cluster asks the registry at every start.
func (x *Experiment) alwaysPulls() bool {
	return len(x.Starts)-x.warm() > 1
}

// pullShare is how much of the cold start-ups was waiting for the image, from 0 to 1.
func (x *Experiment) pullShare() float64 {
	var pull, all float64
	for _, s := range x.Starts {
		if s.Cold {
			pull, all = pull+s.PulledSeconds, all+s.StartUpSeconds
		}
	}
	return part(pull, all)
}
