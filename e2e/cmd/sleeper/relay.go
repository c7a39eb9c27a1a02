package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// relay connects whoever connects to it to the address that he sends first, in a line: as this pod, whatever he is. It ends
// with ctx.
func relay(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("accepting: %w", err)
		}
		go pass(conn)
	}
}

// pass copies both ways until one side has closed.
func pass(from net.Conn) {
	defer from.Close()
	address, err := line(from)
	if err != nil {
		return
	}
	to, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return
	}
	defer to.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{to, from}, {from, to}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			ended <- struct{}{}
		}()
	}
	<-ended
}

// line reads to the end of a line and no further.
func line(r io.Reader) (string, error) {
	var text strings.Builder
	for one := make([]byte, 1); text.Len() < 100; {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return text.String(), nil
		}
		text.Write(one)
	}
	return "", fmt.Errorf("%q is no address", text.String())
}
