package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ownedEnv is set for a supervisor that ends with its owner.
const ownedEnv = "KUBE_PREPULL_TEST_CLUSTER_OWNED"

// Cluster is a running cluster.
type Cluster struct {
	state  *state
	owner  *os.File // open as long as the cluster is wanted; nil if it is detached or somebody else's
	config *rest.Config
	client kubernetes.Interface
}

// Up brings up a cluster and returns when its API server and its nodes are ready. If anything fails, the error says
// which component it was and shows the end of its log, and nothing is left behind.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	if !o.ControlPlaneOnly {
		if err := ensurePackages(ctx, o.Progress); err != nil {
			return nil, err
		}
	}
	binaries, err := Binaries(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	minor, err := minorIn(ctx, binaries)
	if err != nil {
		return nil, err
	}
	c, err := startSupervisor(ctx, o, binaries, minor)
	if err != nil {
		return nil, fmt.Errorf("bringing up the cluster: %w", err)
	}
	if err := c.settle(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bringing up the cluster: %w", err), c.Down(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// settle waits for the real nodes and adds the fake ones.
func (c *Cluster) settle(ctx context.Context) error {
	for _, node := range c.state.Options.Nodes {
		if err := c.waitNodeReady(ctx, node.Name); err != nil {
			return err
		}
	}
	if c.state.Options.FakeNodes > 0 {
		return c.AddFakeNodes(ctx, FakeNodes{Prefix: "fake-", Count: c.state.Options.FakeNodes})
	}
	return c.waitDefaultServiceAccount(ctx)
}

func startSupervisor(ctx context.Context, o Options, binaries string, minor int) (*Cluster, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Namespaces see the folder by its real path.
	if o.Dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	// Another Up may have taken the folder while the binaries were built.
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &state{Options: o, Binaries: binaries, Minor: minor}
	if err := s.save(); err != nil { // first: it is what lets Down remove the rest
		return nil, err
	}
	for _, d := range []string{"logs", "registries"} {
		if err := os.Mkdir(s.path(d), 0o755); err != nil {
			return nil, err
		}
	}
	owner, failure, err := s.spawn(ctx)
	if err != nil {
		return nil, errors.Join(err, Down(context.WithoutCancel(ctx), o.Dir))
	}
	if failure != "" {
		return nil, errors.Join(errors.New(failure), Down(context.WithoutCancel(ctx), o.Dir))
	}
	c, err := Open(o.Dir)
	if err != nil {
		return nil, err
	}
	c.owner = owner
	return c, nil
}

// spawn starts the supervisor and waits until it has come up, or has said why it could not.
func (s *state) spawn(ctx context.Context) (owner *os.File, failure string, err error) {
	result, started, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer result.Close()
	lifeline, owner, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer lifeline.Close()
	log, err := os.Create(s.path("logs", "supervisor.log"))
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	cmd := command(selfExecutable)
	cmd.Env = append(cmd.Env, roleEnv+"=supervisor", roleArgumentEnv+"="+s.Options.Dir)
	cmd.ExtraFiles = []*os.File{started}
	if !s.Options.Detached {
		cmd.Env = append(cmd.Env, ownedEnv+"=yes")
		cmd.ExtraFiles = append(cmd.ExtraFiles, lifeline)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("starting the supervisor: %w", err)
	}
	started.Close()
	go cmd.Wait() //nolint:errcheck // only so that it is no zombie
	if s.Options.Detached {
		owner.Close()
		owner = nil
	}
	said, err := readAll(ctx, result)
	if err != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return nil, "", err
	}
	return owner, said, nil
}

// readAll reads until the other end is closed, or the context ends.
func readAll(ctx context.Context, r *os.File) (string, error) {
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) })
	defer stop()
	content, err := io.ReadAll(r)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return string(content), err
}

// Open returns the running cluster in a folder.
func Open(dir string) (*Cluster, error) {
	s, err := loadState(dir)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 500, 1000
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{state: s, config: config, client: client}, nil
}

// Down takes the cluster down and removes its folder.
func (c *Cluster) Down(ctx context.Context) error {
	err := Down(ctx, c.state.Options.Dir)
	if c.owner != nil {
		err = errors.Join(err, c.owner.Close())
	}
	return err
}

// Kubeconfig is the path of a kubeconfig for the administrator.
func (c *Cluster) Kubeconfig() string { return c.state.kubeconfig() }

// Config is a client configuration for the administrator, without much of a rate limit.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Client is a client for the administrator.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// HostIP is the address at which nodes and pods reach servers on this machine, and where such servers should listen.
// A control plane alone has a loopback address.
func (c *Cluster) HostIP() string { return c.state.HostIP }

// EtcdURL is where etcd serves its clients and its metrics, to this machine alone.
func (c *Cluster) EtcdURL() string { return c.state.Etcd }

// Dir is the cluster's folder.
func (c *Cluster) Dir() string { return c.state.Options.Dir }

// Programs is the folder with kubectl, helm, and the cluster's own programs.
func (c *Cluster) Programs() string { return c.state.Binaries }

// Run starts a process that ends with the cluster.
func (c *Cluster) Run(ctx context.Context, p Process) error {
	if err := c.control(ctx, "/processes", p); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	return nil
}

// TrustRegistry lets every node pull from a registry, host:port, over plain HTTP.
func (c *Cluster) TrustRegistry(address string) error { return c.TrustRegistryAs(address, address) }

// TrustRegistryAs lets every node pull from a registry under another name.
func (c *Cluster) TrustRegistryAs(name, address string) error {
	dir := c.state.path("registries", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	hosts := fmt.Sprintf("server = \"http://%[1]s\"\n[host.\"http://%[1]s\"]\ncapabilities = [\"pull\", \"resolve\"]\n", address)
	return os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(hosts), 0o644)
}

// Log returns the end of the log of a component: kube-apiserver, or <node>/kubelet, <node>/containerd.
func (c *Cluster) Log(component string) string {
	if node, program, ok := strings.Cut(component, "/"); ok {
		return tailOf(c.state.path("nodes", node, "var/log", program+".log"))
	}
	return tailOf(c.state.path("logs", component+".log"))
}

// control makes one change through the supervisor; its error is the supervisor's.
func (c *Cluster) control(ctx context.Context, path string, body any) error {
	_, err := c.state.ask(ctx, http.MethodPost, path, body)
	return err
}

// failure is the first of the processes beside the nodes, or else the node of this name, that has ended by itself, in
// words, or nil.
func (c *Cluster) failure(ctx context.Context, node string) error {
	said, err := c.state.ask(ctx, http.MethodGet, "/failure?node="+url.QueryEscape(node), nil)
	if err == nil && said != "" {
		err = errors.New(said)
	}
	return err
}

func (s *state) ask(ctx context.Context, method, path string, body any) (string, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.Control+path, bytes.NewReader(content))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+s.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking the cluster's supervisor: %w", err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", errors.New(string(bytes.TrimSpace(said)))
	}
	return string(said), nil
}

// Kubectl runs kubectl as the administrator and returns what it prints.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.state.program("kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	output, err := cmd.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("kubectl %v: %w: %s", args, err, output)
	}
	return string(output), nil
}
