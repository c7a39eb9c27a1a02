package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
)

func TestAClockIsAsFarAheadAsAnAnswerProves(t *testing.T) {
	t.Parallel()
	dated := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return dated.Add(time.Duration(ms) * time.Millisecond) }
	for name, test := range map[string]struct {
		sent, arrived int // in milliseconds after the answer's date
		want          time.Duration
	}{
		"at the same time":                         {0, 0, 0},
		"late in the second of the date":           {999, 999, 0},
		"the date is cut to seconds":               {1000, 1000, 0},
		"ahead":                                    {61_000, 61_100, time.Minute},
		"behind":                                   {-60_100, -60_000, -time.Minute},
		"an answer that took long":                 {-600_000, 600_000, 0},
		"an answer that took long to one behind":   {-600_000, -60_000, -time.Minute},
		"an answer that took long to one ahead":    {61_000, 600_000, time.Minute},
		"a clock that was set back for the answer": {61_000, -60_000, time.Minute},
	} {
		if got := ahead(at(test.sent), at(test.arrived), dated); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestAManagerWithAWrongClockSaysSoAndIsNotReady(t *testing.T) {
	t.Parallel()
	var date string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = []string{date} }))
	t.Cleanup(server.Close)
	var logged []string
	registry := prometheus.NewRegistry()
	s, err := newSkew(funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{}), registry)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: s.watch(http.DefaultTransport)}
	for _, step := range []struct {
		name  string
		ahead time.Duration
		off   bool
		logs  int
	}{
		{"a clock that is right", 0, false, 0},
		{"one that differs by seconds", 30 * time.Second, false, 0},
		{"one that is ahead by minutes", 2 * time.Minute, false, 1},
		{"and still is", 3 * time.Minute, false, 0},
		{"too far", 6 * time.Minute, true, 1},
		{"and still is", 2 * time.Hour, true, 0},
		{"not as far", 2 * time.Minute, false, 1},
		{"right again", 0, false, 1},
		{"far behind", -time.Hour, true, 1},
		{"right again", 0, false, 1},
	} {
		logged = nil
		date = time.Now().Add(-step.ahead).UTC().Format(http.TimeFormat)
		response, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		shown := time.Duration(families[0].Metric[0].GetGauge().GetValue() * float64(time.Second))
		if s.off() != step.off || (s.ready(nil) != nil) != step.off || len(logged) != step.logs || (shown-step.ahead).Abs() > 10*time.Second {
			t.Errorf("%s: off is %t, ready says %v, the metric %v, the log %q", step.name, s.off(), s.ready(nil), shown, logged)
		}
	}
	for _, none := range []string{"", "soon"} {
		date = none
		if response, err := client.Get(server.URL); err != nil || s.off() {
			t.Errorf("with the date %q the clock is off: %t, %v", none, s.off(), err)
		} else {
			response.Body.Close()
		}
	}
}
