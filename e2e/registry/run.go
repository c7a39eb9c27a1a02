package registry

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Run is the registry as a command: it serves until ctx is done. Once it listens it prints a line REGISTRY=host:port,
// and CONTROL=host:port if it is controlled over HTTP. Its arguments are those of Control and Options: -addr, -control,
// -dir, -bandwidth and -latency.
func Run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	var o Options
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:5000", "address to serve images on")
	control := flags.String("control", "", "loopback address to be controlled on; none if empty")
	flags.StringVar(&o.Dir, "dir", "", "where to make a directory for blobs (default the system's)")
	flags.Int64Var(&o.Bandwidth, "bandwidth", 0, "bits per second that all clients share; 0 is no cap")
	flags.DurationVar(&o.Latency, "latency", 0, "added to every request")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("parsing the arguments: %w", err)
	}
	r, err := New(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.Listen(*addr); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "REGISTRY=%s\n", r.Addr()) //nolint:errcheck // it serves whether or not somebody reads this
	if *control == "" {
		<-ctx.Done()
		return nil
	}

	l, err := net.Listen("tcp", *control)
	if err != nil {
		return fmt.Errorf("listening for control: %w", err)
	}
	fmt.Fprintf(stdout, "CONTROL=%s\n", l.Addr()) //nolint:errcheck // as above
	server := &http.Server{Handler: r.Control(), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving control: %w", err)
	}
	return nil
}
