package memory

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := New[int, int](100)
	for i := range 1000 {
		m.Add(i, i, time.Now().Add(time.Minute))
		if value, found := m.Find(i); !found || value != i || m.Len() > 100 {
			t.Fatalf("%d is %d, %v, among %d", i, value, found, m.Len())
		}
	}
	m.Add(-1, 1, time.Now())
	if _, found := m.Find(-1); found {
		t.Error("what holds no longer is found")
	}
}

// Nobody may ask for a value again that holds no longer: it is dropped all the same.
func TestWhatHoldsNoLongerIsDropped(t *testing.T) {
	t.Parallel()
	dropped := make(chan struct{})
	synctest.Test(t, func(t *testing.T) {
		m := New[string, *[64]byte](100)
		login := new([64]byte)
		runtime.AddCleanup(login, func(c chan struct{}) { close(c) }, dropped)
		m.Add("login", login, time.Now().Add(5*time.Second))
		time.Sleep(4 * time.Second)
		m.Add("other", nil, time.Now().Add(time.Hour))
		if _, found := m.Find("login"); !found {
			t.Error("what holds still is gone")
		}
		login = nil
		time.Sleep(2 * time.Second)
		m.Add("third", nil, time.Now().Add(time.Hour))
		if m.Len() != 2 {
			t.Errorf("%d values are kept", m.Len())
		}
		runtime.KeepAlive(m)
		kept = m
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		runtime.GC()
		select {
		case <-dropped:
			return
		case <-time.After(10 * time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatal("what holds no longer is in memory")
			}
		}
	}
}

// kept is for a memory that has to outlive a test's bubble.
var kept any

func TestOneTakesAValue(t *testing.T) {
	t.Parallel()
	for range 1000 {
		m := New[string, int](1)
		m.Add("session", 1, time.Now().Add(time.Hour))
		var running sync.WaitGroup
		var taken atomic.Int32
		for range 4 {
			running.Go(func() {
				if _, found := m.Take("session"); found {
					taken.Add(1)
				}
			})
		}
		running.Wait()
		if taken.Load() != 1 {
			t.Fatalf("%d took it", taken.Load())
		}
	}
}
