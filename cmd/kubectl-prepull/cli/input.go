package cli

import (
	"context"
	"errors"
	"io"
)

// errInterrupted is what reading ends with when the program is told to end.
var errInterrupted = errors.New("interrupted")

// Input is what is piped in or typed, until ctx ends: a program that waits for input must end with Ctrl-C.
func Input(ctx context.Context, from io.Reader) io.Reader {
	in, out := io.Pipe()
	started := false
	return reader(func(p []byte) (int, error) {
		if !started {
			started = true
			context.AfterFunc(ctx, func() { out.CloseWithError(errInterrupted) })
			go func() {
				_, err := io.Copy(out, from)
				out.CloseWithError(err)
			}()
		}
		return in.Read(p)
	})
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }
