package main

import (
	"context"
	"net/http"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

// A manager that was told to stop is sent reviews for a while: by API servers that do not know yet that it is going, and
// over connections that they keep. They send no review twice, so one that crosses a hang-up is lost. Therefore every
// answer now says that it is the last on its connection, and the manager goes when it is quiet: what is open then has not
// been used since, and that is hung up on.

// beat is how often a manager that was told to stop looks whether it is still used.
const beat = 100 * time.Millisecond

// stay is how long it still answers.
type stay struct {
	atLeast time.Duration // until API servers know that it is going
	atMost  time.Duration // somebody may send all the time
	quiet   int           // beats in a row; on a starved machine they last as much longer as everything else
}

var lameduckStay = stay{atLeast: 5 * time.Second, atMost: 15 * time.Second, quiet: 20}

// wait returns when the stay is over. uses counts up when the manager is used.
func (s stay) wait(uses func() int64) {
	told, last, quiet := time.Now(), uses(), 0
	for time.Since(told) < s.atMost && (time.Since(told) < s.atLeast || quiet < s.quiet) {
		time.Sleep(beat)
		quiet++
		if now := uses(); now != last {
			last, quiet = now, 0
		}
	}
}

// lameduck returns a context that ends a stay after ctx.
func lameduck(ctx context.Context, s stay, uses func() int64) context.Context {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		defer cancel()
		ctrl.Log.Info("told to stop", "atLeast", s.atLeast.String(), "atMost", s.atMost.String())
		s.wait(uses)
	})
	return late
}

// lastAnswers makes every answer the last on its connection once ctx has ended. http.Server.SetKeepAlivesEnabled would hang
// up on idle connections too, and a review may be on its way on one.
func lastAnswers(ctx context.Context, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx.Err() != nil {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
