package measure

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// document is what a page says.
type document struct {
	Title    string
	Subject  string
	Figures  []figure
	Verdict  string
	Notes    []string
	Legend   []string
	Charts   []chart
	Sections []chart // folded, but for the first ones
	More     string  // what is left out of Sections
	Columns  []column
	Cells    [][]string
	Method   []string
	Made     string
}

// column of the table: of numbers, of names, or of words, which are longer.
type column struct{ Name, Kind string }

const (
	ofNumbers = "number"
	ofNames   = "name"
	ofWords   = "words"
)

// figure is a number that is worth a look.
type figure struct{ Value, Label, Kind string }

// Open tells whether a section is unfolded.
func (d *document) Open(section int) bool { return section < 5 }

// writePage writes a file that needs no other. An existing file of that name is replaced.
func writePage(file string, d *document) error {
	var page bytes.Buffer
	if err := pageTemplate.Execute(&page, d); err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

func madeAt(now time.Time) string { return now.UTC().Format("2 January 2006, 15:04 MST") }

// experimentPage shows an experiment.
func experimentPage(x *Experiment, now time.Time) *document {
	d := &document{
		Title:   "Cold against warm",
		Subject: x.Image + " on node " + x.Node + sizeWords(x.SizeBytes),
		Verdict: x.summary(),
		Notes:   x.Notes,
		Legend:  []string{stepScheduled, stepSandbox, stepPulled, stepStarted},
		Columns: []column{
			{"Start", ofNames}, {"Pod", ofWords},
			{"Scheduled", ofNumbers}, {"Sandbox", ofNumbers}, {"Pulled", ofNumbers}, {"Started", ofNumbers}, {"Start-up", ofNumbers},
		},
		Made: madeAt(now),
		Method: []string{
			"Pods with this image were made one after the other on one node. They ran a program of kube-prepull in the image, not what the image is for. The times of scheduled, sandbox and started are those at which the news reached this program; pulled is what the kubelet says.",
			"Start-up is sandbox, pulled and started together. Warm is the median of the starts with the image on the node. The experiment's own step, which puts its program into the pod, is left out of everything.",
		},
	}
	if x.Ratio > 0 {
		d.Figures = []figure{
			{fmt.Sprintf("%.1f×", x.Ratio), "as long without the image", ""},
			{short(x.ColdSeconds), "cold start-up", "bad"},
			{short(x.WarmSeconds), "warm start-up", "good"},
			{percent(x.pullShare()), "of the cold start-up is the pull", ""},
		}
	}
	var bars []bar
	for _, s := range x.Starts {
		kind, pull := "warm", "–"
		if s.Cold {
			kind, pull = "cold", short(s.PulledSeconds)
		}
		bars = append(bars, bar{label: kind, note: short(s.StartUpSeconds), steps: []step{
			{stepScheduled, s.ScheduledSeconds}, {stepSandbox, s.SandboxSeconds}, {stepPulled, s.PulledSeconds}, {stepStarted, s.StartedSeconds},
		}})
		d.Cells = append(d.Cells, []string{kind, s.Pod, short(s.ScheduledSeconds), short(s.SandboxSeconds), pull, short(s.StartedSeconds), short(s.StartUpSeconds)})
	}
	d.Charts = []chart{draw("From the pod's creation to its container running", bars)}
	return d
}

// Bounds of a page: more would be too long to look at.
const (
	pageWorkloads = 30
	pagePods      = 25
)

// historyPage shows a history.
func historyPage(h *History, now time.Time) *document {
	d := &document{
		Title:   "How pods started",
		Subject: fmt.Sprintf("%s of %s", counted(h.Starts, "start", "starts"), counted(len(h.Workloads), "workload", "workloads")),
		Verdict: h.verdict(),
		Legend:  []string{stepSandbox, stepPulled, stepStarted, stepUnknown},
		Figures: []figure{
			{fmt.Sprint(h.Hits), "found every image on the node", "good"},
			{fmt.Sprint(h.Misses), "waited for an image", "bad"},
			{short(h.PulledSeconds), "waited together", ""},
		},
		Columns: []column{
			{"Namespace", ofNames}, {"Workload", ofWords},
			{"Starts", ofNumbers}, {"Hits", ofNumbers}, {"Misses", ofNumbers}, {"Unknown", ofNumbers},
			{"Pulled", ofNumbers}, {"Share", ofNumbers}, {"Start-up", ofNumbers}, {"Slowest pull", ofWords},
		},
		Made: madeAt(now),
		Method: []string{
			"Pulled is what containers waited for their images, as the kubelets say in events, to the millisecond. Start-up is the time from a pod being scheduled to all of its containers running, from the pod's status, in whole seconds; its median is shown. Share is pulled to start-up, of the starts that both are known of.",
			"Unknown are starts whose events are gone: API servers keep them for an hour. They count neither as hits nor as misses.",
		},
	}
	if h.PullShare != nil {
		d.Figures = append(d.Figures, figure{percent(*h.PullShare), "of start-up was waiting for images", ""})
	}
	var bars []bar
	for i := range h.Workloads {
		x := &h.Workloads[i]
		row := []string{x.Namespace, x.Kind + "/" + x.Name}
		for _, cell := range x.cells() {
			row = append(row, fmt.Sprint(cell))
		}
		slowest := ""
		if worst, node := x.slowest(); worst != nil {
			slowest = fmt.Sprintf("%s on %s: %s%s", short(worst.PulledSeconds), node, worst.Image, sizeWords(worst.SizeBytes))
		}
		d.Cells = append(d.Cells, append(row, slowest))
		if i < pageWorkloads {
			bars = append(bars, x.bar())
			d.Sections = append(d.Sections, x.chart())
		}
	}
	if more := len(h.Workloads) - pageWorkloads; more > 0 {
		d.More = fmt.Sprintf("%s that waited less are in the table alone.", counted(more, "more workload", "more workloads"))
	}
	d.Charts = []chart{draw("Start-up of all pods together, by workload", bars)}
	return d
}

// bar is the sum of the starts of a workload.
func (x *Workload) bar() bar {
	sum := map[string]float64{}
	for i := range x.Pods {
		for _, s := range x.Pods[i].steps() {
			sum[s.kind] += s.seconds
		}
	}
	b := bar{label: x.Namespace + "/" + x.Name}
	for _, kind := range []string{stepSandbox, stepPulled, stepStarted, stepUnknown} {
		b.steps = append(b.steps, step{kind, sum[kind]})
	}
	if x.PullShare != nil {
		b.note = percent(*x.PullShare)
	}
	return b
}

// chart is the starts of a workload one by one.
func (x *Workload) chart() chart {
	var bars []bar
	for i := range x.Pods[:min(pagePods, len(x.Pods))] {
		s := &x.Pods[i]
		bars = append(bars, bar{label: s.Pod, steps: s.steps(), note: short(s.StartUpSeconds)})
	}
	heading := fmt.Sprintf("%s/%s in %s: %s", x.Kind, x.Name, x.Namespace, counted(x.Starts, "start", "starts"))
	if more := len(x.Pods) - pagePods; more > 0 {
		heading += fmt.Sprintf(", of which the %d that waited longest are shown", pagePods)
	}
	return draw(heading, bars)
}

// steps of a start. Where it is not known what was a pull, all is unknown.
func (s *PodStart) steps() []step {
	if s.Outcome == Unknown {
		return []step{{stepUnknown, s.StartUpSeconds}}
	}
	return []step{
		{stepSandbox, s.SandboxSeconds}, {stepPulled, s.PulledSeconds},
		{stepStarted, s.StartUpSeconds - s.SandboxSeconds - s.PulledSeconds},
	}
}
