package digest

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkResolveRemembered is an admission whose tag was asked for before, with a pull secret of several registries.
func BenchmarkResolveRemembered(b *testing.B) {
	f := &fake{}
	r := f.resolver(b)
	auths := [][]byte{dockerConfig("other.test", "user", secret), dockerConfig("https://index.docker.io/v1/", "user", secret), dockerConfig("r.test", "user", secret)}
	if _, err := r.Resolve(b.Context(), "shop", "r.test/shop/app:v1", auths, false); err != nil {
		b.Fatal(err)
	}
	asked, err := newTarget("r.test/shop/app:v1", auths)
	if err != nil {
		b.Fatal(err)
	}
	answer, _ := r.known.Find(asked.key())
	r.known.Add(asked.key(), answer, time.Now().Add(time.Hour)) // for the time of the benchmark
	b.ReportAllocs()
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		start := time.Now()
		if _, err := r.Resolve(b.Context(), "shop", "r.test/shop/app:v1", auths, false); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	if f.heads != 1 {
		b.Errorf("%d requests", f.heads)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
}
