package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Control changes and watches the Registry over HTTP, for shells. It asks nobody who they are: serve it on a loopback
// address only.
//
//	GET    /counts                                       the counts of each repository, as JSON
//	DELETE /counts                                       start them from zero
//	PUT    /bandwidth?bits=100000000                     0 lifts the cap
//	PUT    /latency?delay=200ms
//	PUT    /down                                         DELETE /down brings the registry back
//	PUT    /fault?repo=shop/*&status=429&retry-after=30s one of status, hang=true and cut-after=<bytes>; and first=<n>
//	DELETE /fault?repo=shop/*
//	PUT    /private?repo=shop/*&user=u&password=p        and token=true for the token server
func (r *Registry) Control() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, set func(url.Values) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			if err := set(req.URL.Query()); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, r.AllCounts())
	})
	handle("DELETE /counts", func(url.Values) error { r.ResetCounts(); return nil })
	handle("PUT /bandwidth", func(q url.Values) error {
		bits, err := strconv.ParseInt(q.Get("bits"), 10, 64)
		if err != nil {
			return fmt.Errorf("parsing bits: %w", err)
		}
		r.SetBandwidth(bits)
		return nil
	})
	handle("PUT /latency", func(q url.Values) error {
		delay, err := time.ParseDuration(q.Get("delay"))
		if err != nil {
			return fmt.Errorf("parsing delay: %w", err)
		}
		r.SetLatency(delay)
		return nil
	})
	handle("PUT /down", func(url.Values) error { r.SetDown(true); return nil })
	handle("DELETE /down", func(url.Values) error { r.SetDown(false); return nil })
	handle("PUT /fault", func(q url.Values) error {
		f, err := parseFault(q)
		if err != nil {
			return err
		}
		r.SetFault(q.Get("repo"), f)
		return nil
	})
	handle("DELETE /fault", func(q url.Values) error { r.LiftFault(q.Get("repo")); return nil })
	handle("PUT /private", func(q url.Values) error {
		if q.Get("repo") == "" || q.Get("user") == "" {
			return errors.New("repo and user are needed")
		}
		r.Private(q.Get("repo"), Auth{User: q.Get("user"), Password: q.Get("password"), Token: q.Get("token") == "true"})
		return nil
	})
	return mux
}

// parseFault reads a Fault from the query of a control request.
func parseFault(q url.Values) (Fault, error) {
	if q.Get("repo") == "" {
		return Fault{}, errors.New("repo is needed")
	}
	number := func(key string) (int64, error) {
		if !q.Has(key) {
			return 0, nil
		}
		n, err := strconv.ParseInt(q.Get(key), 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%s is %q, not a number", key, q.Get(key))
		}
		return n, nil
	}
	status, statusErr := number("status")
	cutAfter, cutErr := number("cut-after")
	first, firstErr := number("first")
	if err := errors.Join(statusErr, cutErr, firstErr); err != nil {
		return Fault{}, err
	}
	var f Fault
	switch {
	case status == http.StatusTooManyRequests && q.Has("retry-after"):
		after, err := time.ParseDuration(q.Get("retry-after"))
		if err != nil {
			return Fault{}, fmt.Errorf("parsing retry-after: %w", err)
		}
		f = TooManyRequests(after)
	case status >= 400 && status < 600:
		f = Refuse(int(status))
	case q.Get("hang") == "true":
		f = Hang()
	case q.Has("cut-after"):
		f = CutAfter(cutAfter)
	default:
		return Fault{}, errors.New("one of status (400 to 599), hang=true and cut-after is needed")
	}
	return f.First(int(first)), nil
}
