// Package status is the command kubectl prepull status: how everything stands, on one screen.
package status

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

// Status is what -o json prints.
type Status struct {
	// Problems are what is wrong, the worst first.
	Problems []Problem `json:"problems"`

	// Manager is what keeps everything right; nil if its Deployment may not be read.
	Manager *Manager `json:"manager,omitempty"`

	Images inventory.ImageSums `json:"images"`
	Nodes  inventory.NodeSums  `json:"nodes"`

	// GatedNodes is how many nodes have the taint that keeps pods off until the images are there.
	GatedNodes int `json:"gatedNodes"`

	// LastHour is of the containers that started in opted-in namespaces, from the events that kubelets wrote; nil if these
	// may not be read, and LastHourUnknown then says why.
	LastHour        *inventory.Starts `json:"lastHour,omitempty"`
	LastHourUnknown string            `json:"lastHourUnknown,omitempty"`

	// Classes of nodes, by name.
	Classes []inventory.Class `json:"classes"`
}

// Manager counts the pods of the manager.
type Manager struct {
	Desired int32 `json:"desired"`
	Ready   int32 `json:"ready"`
}

// findings is what was read for a status.
type findings struct {
	manager *Manager
	images  []inventory.Image
	nodes   []inventory.Node
	classes []inventory.Class
	gated   int
	hour    hour
}

// hour is what was read of the starts of the last hour.
type hour struct {
	starts  []inventory.Start
	serial  []string // nodes with several prepull pods whose kubelets pull one by one
	unknown string
	read    time.Time
}

// statusOf sums up findings.
func statusOf(f findings, now time.Time) Status {
	s := Status{
		Problems: problems(f), Manager: f.manager,
		Images: inventory.SumImages(f.images), Nodes: inventory.SumNodes(f.nodes), GatedNodes: f.gated,
		LastHourUnknown: f.hour.unknown, Classes: f.classes,
	}
	if f.hour.unknown == "" {
		sum := inventory.Sum(f.hour.starts, now.Add(-time.Hour))
		s.LastHour = &sum
	}
	return s
}

// source is where statuses are read.
type source struct {
	client client.Reader
	home   string
	hour   hour
}

// eventsEvery is how often the starts are read again while a status is watched: a large cluster has many events.
const eventsEvery = 30 * time.Second

// read reads a status.
func (s *source) read(ctx context.Context, now time.Time) (Status, error) {
	f := findings{}
	objects, err := inventory.ReadPrepullImages(ctx, s.client)
	if err != nil {
		return Status{}, err
	}
	f.images = inventory.Images(objects)
	fleet, err := inventory.ReadFleet(ctx, s.client, s.home)
	if err != nil {
		return Status{}, err
	}
	f.nodes = fleet.Nodes()
	f.classes = fleet.Classes(f.nodes)
	if f.manager, err = s.readManager(ctx); err != nil {
		return Status{}, err
	}
	gate, _, err := inventory.ReadGateKey(ctx, s.client, s.home)
	if err != nil {
		return Status{}, err
	}
	for i := range f.nodes {
		if inventory.HasTaint(f.nodes[i].Taints, gate) {
			f.gated++
		}
	}
	if s.hour.read.IsZero() || now.Sub(s.hour.read) >= eventsEvery {
		if s.hour, err = s.readHour(ctx, now); err != nil {
			return Status{}, err
		}
		if fleet.PullsSideBySide() {
			if s.hour.serial, err = inventory.ReadSerialNodes(ctx, s.client, s.home); err != nil {
				return Status{}, err
			}
		}
	}
	f.hour = s.hour
	return statusOf(f, now), nil
}

func (s *source) readManager(ctx context.Context) (*Manager, error) {
	var d appsv1.Deployment
	err := s.client.Get(ctx, client.ObjectKey{Namespace: s.home, Name: v1alpha1.Name}, &d)
	switch {
	case apierrors.IsForbidden(err):
		return nil, nil
	case apierrors.IsNotFound(err):
		return &Manager{}, nil
	case err != nil:
		return nil, fmt.Errorf("reading the Deployment of the manager: %w", err)
	}
	m := &Manager{Ready: d.Status.ReadyReplicas, Desired: 1}
	if d.Spec.Replicas != nil {
		m.Desired = *d.Spec.Replicas
	}
	return m, nil
}

// readHour reads the starts in namespaces that are opted in. Who may not read them gets the rest of the status.
func (s *source) readHour(ctx context.Context, now time.Time) (hour, error) {
	optedIn, err := inventory.ReadOptedIn(ctx, s.client, s.home)
	if err == nil {
		var all []inventory.Start
		all, err = inventory.ReadStarts(ctx, s.client, s.home)
		h := hour{read: now}
		for i := range all {
			if optedIn[all[i].Namespace] {
				h.starts = append(h.starts, all[i])
			}
		}
		if err == nil {
			return h, nil
		}
	}
	if apierrors.IsForbidden(err) {
		return hour{read: now, unknown: cli.Sentence(err)}, nil
	}
	return hour{}, err
}
