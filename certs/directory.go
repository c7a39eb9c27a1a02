package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
)

// directory serves what lies in files. Whoever put it there sees to it that API servers trust it.
type directory struct {
	path     string
	interval time.Duration // of reading
	serving  *serving
	log      logr.Logger
}

// NeedLeaderElection is false: every replica has its files.
func (d *directory) NeedLeaderElection() bool { return false }

// Start reads the files until ctx ends.
func (d *directory) Start(ctx context.Context) error {
	tick := time.NewTicker(d.interval)
	defer tick.Stop()
	for {
		d.read()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// read keeps what is served if the files are not there or do not belong together: they may be changing just now.
func (d *directory) read() {
	leaf, err := tls.LoadX509KeyPair(filepath.Join(d.path, corev1.TLSCertKey), filepath.Join(d.path, corev1.TLSPrivateKeyKey))
	if err != nil {
		waiting := fmt.Sprintf("a certificate in %s: %s", d.path, err)
		if before := d.serving.waiting.Swap(&waiting); before == nil || *before != waiting {
			d.log.Info("the directory has no certificate", "reason", err.Error())
		}
		return
	}
	d.serving.waiting.Store(nil)
	if before := d.serving.leaf.Swap(&leaf); before == nil || !before.Leaf.Equal(leaf.Leaf) {
		d.log.Info("serving a certificate", "issuer", leaf.Leaf.Issuer.CommonName, "notAfter", leaf.Leaf.NotAfter)
	}
}
