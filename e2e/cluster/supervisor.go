package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
)

// The supervisor and the first processes of nodes are this same executable, told by its environment what to be. So a
// test binary needs nothing built or installed beside it.
const (
	roleEnv         = "KUBE_PREPULL_TEST_CLUSTER_ROLE"
	roleArgumentEnv = "KUBE_PREPULL_TEST_CLUSTER_ROLE_ARGUMENT"
)

func init() {
	var role func(string) error
	switch os.Getenv(roleEnv) {
	case "":
		return
	case "supervisor":
		role = supervise
	case "node":
		role = nodeMain
	}
	if err := role(os.Getenv(roleArgumentEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// supervisor owns a cluster's processes, network, cgroups and folders.
type supervisor struct {
	state     *state
	authority *pki
	starter   starter
	processes []*running
	ports     portClaims
	serving   chan struct{} // closed when the API server serves
	down      chan struct{}
	closeDown sync.Once

	mu        sync.Mutex // guards what follows: one change at a time
	fabric    *fabric
	nodes     map[string]*nodeHost
	nextIndex int
}

// supervise runs the cluster in dir until it is told to end, or its owner has ended. File 3 tells the starter how
// coming up went: nothing, or why it failed. File 4, where there is one, is closed when the owner ends.
func supervise(dir string) error {
	// Programs that are started here must not hold them open.
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	started := os.NewFile(3, "started")
	s := &supervisor{nodes: map[string]*nodeHost{}, nextIndex: 1, serving: make(chan struct{}), down: make(chan struct{})}
	s.starter.logs = filepath.Join(dir, "logs")
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT) // a terminal's affairs
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() {
		<-end
		s.endAll()
	}()
	if os.Getenv(ownedEnv) != "" {
		go func() {
			io.Copy(io.Discard, os.NewFile(4, "owner"))
			s.endAll()
		}()
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-s.down
		cancel()
	}()
	err := s.up(ctx, dir)
	if err != nil {
		fmt.Fprint(started, err)
	} else {
		started.Close()
		<-s.down
	}
	err = errors.Join(err, s.tearDown(dir))
	started.Close()
	return err
}

func (s *supervisor) endAll() { s.closeDown.Do(func() { close(s.down) }) }

func (s *supervisor) up(ctx context.Context, dir string) error {
	var err error
	if s.state, err = loadState(dir); err != nil {
		return err
	}
	s.state.HostIP = "127.0.0.1"
	if !s.state.Options.ControlPlaneOnly {
		if s.fabric, err = newFabric(); err != nil {
			return err
		}
		s.state.Slot, s.state.HostIP = s.fabric.slot, hostIP(s.fabric.slot)
	}
	if s.authority, err = newPKI(s.state.path("pki")); err != nil {
		return fmt.Errorf("making the cluster's certificate authority: %w", err)
	}
	programs, err := controlPlane(ctx, s.state, s.authority, &s.ports)
	if err != nil {
		return err
	}
	for _, program := range programs[:firstController] {
		if _, err := s.run(program); err != nil {
			return err
		}
	}
	// What nodes do before they need the API server, they do while it starts.
	for _, node := range s.state.Options.Nodes {
		if err := s.addNode(node); err != nil {
			return err
		}
	}
	// The controllers give up after ten seconds if the API server does not know their rights yet.
	if err := waitReady(ctx, s.state, s.processes); err != nil {
		return err
	}
	close(s.serving)
	for _, program := range programs[firstController:] {
		if _, err := s.run(program); err != nil {
			return err
		}
	}
	if file := s.state.Options.Lifeline; file != "" {
		if err := s.endWith(file); err != nil {
			return fmt.Errorf("opening the lifeline: %w", err)
		}
	}
	return s.serve()
}

// endWith ends the cluster when the lock of a file can be had.
func (s *supervisor) endWith(file string) error {
	lifeline, err := os.Open(file)
	if err != nil {
		return err
	}
	go func() {
		for {
			if err := syscall.Flock(int(lifeline.Fd()), syscall.LOCK_SH); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		s.endAll()
	}()
	return nil
}

func (s *supervisor) run(p Process) (*running, error) {
	cmd := command(p.Path, p.Args...)
	cmd.Env = append(cmd.Env, p.Env...)
	started, err := s.starter.start(p.Name, cmd)
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, started)
	return started, nil
}

// serve opens the supervisor's API on a loopback address, for those who can read the cluster's folder.
func (s *supervisor) serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.state.Control, s.state.Token = listener.Addr().String(), rand.Text()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /nodes", answer(func(node *Node) error { return s.addNode(*node) }, s))
	mux.HandleFunc("POST /nodes/{name}/{verb}", s.changeNode)
	mux.HandleFunc("GET /failure", s.reportFailure)
	mux.HandleFunc("POST /processes", answer(func(p *Process) error { _, err := s.run(*p); return err }, s))
	authorised := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+s.state.Token {
			http.Error(w, "the token is in the cluster's folder", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
	go http.Serve(listener, authorised) //nolint:gosec // loopback, and ends with the process
	return s.state.save()
}

// answer decodes a request, makes one change, and puts its error into words.
func answer[T any](change func(*T) error, s *supervisor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request T
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := change(&request); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	}
}

func (s *supervisor) changeNode(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	verbs := map[string]func(*nodeHost) error{"start": s.startNode, "stop": s.stopNode, "remove": s.removeNode}
	change, host := verbs[r.PathValue("verb")], s.nodes[r.PathValue("name")]
	if change == nil || host == nil {
		http.Error(w, "there is no node "+r.PathValue("name"), http.StatusNotFound)
		return
	}
	if err := change(host); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

// reportFailure answers with the first process that ended though nobody asked it to, or with nothing. Of the nodes only
// the one asked about counts: one that failed keeps nobody from adding others.
func (s *supervisor) reportFailure(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append([]*running{}, s.processes...)
	if host := s.nodes[r.URL.Query().Get("node")]; host != nil && host.init != nil {
		all = append(all, host.init)
	}
	for _, p := range all {
		if err := p.failure(); err != nil {
			fmt.Fprint(w, err)
			return
		}
	}
}

// tearDown ends everything and leaves nothing.
func (s *supervisor) tearDown(dir string) error {
	s.mu.Lock() // for good: a change that waits for it now would leave something
	for _, host := range s.nodes {
		if host.init != nil {
			host.init.kill()
		}
	}
	for _, p := range s.processes {
		p.kill()
	}
	if s.fabric != nil {
		s.fabric.close()
	}
	return removeRemains(dir)
}
