package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestItLivesUntilItIsStopped(t *testing.T) {
	t.Parallel()
	for name, port := range map[string]string{"without a port": "", "with a port": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			out, stdout := io.Pipe()
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, port, "", stdout) }()
			line := bufio.NewScanner(out)
			if !line.Scan() || !strings.HasPrefix(line.Text(), "started") {
				t.Fatalf("it says %q", line.Text())
			}
			if addr, ok := strings.CutPrefix(line.Text(), "started on "); ok {
				_, port, _ := net.SplitHostPort(addr)
				resp, err := http.Get("http://127.0.0.1:" + port)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			} else if port != "" {
				t.Errorf("it listens nowhere: %q", line.Text())
			}
			select {
			case err := <-ended:
				t.Fatalf("it ended by itself: %v", err)
			default:
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatItAnswers(t *testing.T) {
	t.Setenv("SLEEPER_TEST", "set")
	for path, want := range map[string]string{"/": "ok\n", "/any": "ok\n", "/env": "SLEEPER_TEST=set\n"} {
		w := httptest.NewRecorder()
		handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s answers %q", path, w.Body)
		}
	}
}

func TestAPortThatIsNone(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), "none", "", io.Discard); err == nil {
		t.Error("no error")
	}
}

func TestARelayPassesOn(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(handler())
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "", "0", stdout) }()
	line := bufio.NewScanner(out)
	if !line.Scan() {
		t.Fatal("it does not start")
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(line.Text(), "started on "))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
		conn, err := net.Dial(network, "127.0.0.1:"+port)
		if err == nil {
			_, err = io.WriteString(conn, address+"\n")
		}
		return conn, err
	}}}
	response, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || string(body) != "ok\n" {
		t.Errorf("it passes on %q, %v", body, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
