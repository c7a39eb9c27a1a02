package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestInputEndsWithTheProgram(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	if text, err := io.ReadAll(Input(ctx, strings.NewReader("kind: Pod"))); err != nil || string(text) != "kind: Pod" {
		t.Errorf("it reads %q: %v", text, err)
	}
	silent, _ := io.Pipe()
	cancel()
	if _, err := io.ReadAll(Input(ctx, silent)); !errors.Is(err, errInterrupted) {
		t.Errorf("the error is %v", err)
	}
}
