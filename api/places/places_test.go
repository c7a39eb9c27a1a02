package places

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// enter waits for a second at most, and returns nil if there was no place.
func enter(t *testing.T, p *Places, shares ...Share) func() {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	leave, err := p.Enter(ctx, shares...)
	if err != nil {
		return nil
	}
	return leave
}

func TestANameLeavesPlacesToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(3)
		first, second := enter(t, p, Share{"greedy", 2}, Share{"a", 1}), enter(t, p, Share{"greedy", 2}, Share{"b", 1})
		if first == nil || second == nil {
			t.Fatal("there is no place for the first two")
		}
		if enter(t, p, Share{"greedy", 2}, Share{"c", 1}) != nil {
			t.Error("a name has more places than its share")
		}
		if enter(t, p, Share{"modest", 2}, Share{"a", 1}) != nil {
			t.Error("so has the second of two names")
		}
		modest := enter(t, p, Share{"modest", 2}, Share{"c", 1})
		if modest == nil {
			t.Fatal("another name has none, though there is one")
		}
		if enter(t, p, Share{"third", 2}) != nil {
			t.Error("there are more places than in all")
		}
		for _, leave := range []func(){first, second, modest} {
			leave()
		}
		if p.free != 3 || p.Len() != 0 || len(p.waiting) != 0 {
			t.Errorf("%d places are free, %d names have some, %d wait", p.free, p.Len(), len(p.waiting))
		}
	})
}

func TestWhoHasTheFewestIsNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(2)
		one, two := enter(t, p, Share{"greedy", 2}), enter(t, p, Share{"greedy", 2})
		order := make(chan string, 3)
		for _, name := range []string{"greedy", "greedy", "modest"} {
			go func() {
				leave, err := p.Enter(t.Context(), Share{name, 2})
				if err != nil {
					t.Error(err)
					return
				}
				order <- name
				time.Sleep(time.Second)
				leave()
			}()
			synctest.Wait()
		}
		one()
		if next := <-order; next != "modest" {
			t.Errorf("%s is next", next)
		}
		two()
		if next := <-order; next != "greedy" {
			t.Errorf("then it is %s", next)
		}
		<-order
		time.Sleep(time.Second) // the last one leaves
		synctest.Wait()
	})
}

// Who waits for one name holds no place of another one.
func TestWhoWaitsHoldsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(4)
		enter(t, p, Share{"greedy", 1}, Share{"slow", 2})
		go enter(t, p, Share{"greedy", 1}, Share{"registry", 1})
		synctest.Wait()
		if enter(t, p, Share{"modest", 1}, Share{"registry", 1}) == nil {
			t.Error("who waits for its turn holds the place of a registry")
		}
	})
}
