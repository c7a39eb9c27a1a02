// Command sleeper is a workload for tests: it lives until SIGTERM. With PORT set it answers HTTP there: "ok" on every
// path, and its environment on /env. With RELAY set it passes connections on from there, see relay. It prints "started" once
// it is ready.
//
// "sleeper get URL" asks for a URL until something answers, whatever the answer, prints its status and exits.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == "get" {
		get(ctx, os.Args[2])
		return
	}
	if err := run(ctx, os.Getenv("PORT"), os.Getenv("RELAY"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, port, relayPort string, stdout io.Writer) error {
	if port == "" && relayPort == "" {
		fmt.Fprintln(stdout, "started") //nolint:errcheck // it lives whether or not somebody reads this
		<-ctx.Done()
		return nil
	}
	l, err := net.Listen("tcp", ":"+port+relayPort) // one of them
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	fmt.Fprintln(stdout, "started on", l.Addr()) //nolint:errcheck // as above
	if relayPort != "" {
		return relay(ctx, l)
	}
	server := &http.Server{Handler: handler()}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Join(slices.Sorted(slices.Values(os.Environ())), "\n")+"\n")
	})
	return mux
}

func get(ctx context.Context, url string) {
	// Who answers is not the question here, but that somebody does.
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for ctx.Err() == nil {
		response, err := client.Get(url)
		if err == nil {
			response.Body.Close()
			fmt.Println(response.Status)
			return
		}
		fmt.Println(err)
		time.Sleep(200 * time.Millisecond)
	}
}
