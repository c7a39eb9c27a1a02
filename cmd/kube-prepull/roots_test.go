package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

const emptyImage = "KUBE_PREPULL_TEST_EMPTY_IMAGE"

// The image is empty but for the binary. A registry with a certificate of a public authority must be trusted all the
// same, or the manager sees no size, no tag that moved and no pin.
func TestPublicAuthoritiesAreTrustedOnAnEmptyImage(t *testing.T) {
	t.Parallel()
	if os.Getenv(emptyImage) == "" {
		// A process reads the authorities of the system once.
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		none := t.TempDir()
		cmd.Env = append(os.Environ(), emptyImage+"=1", "SSL_CERT_FILE="+none+"/none", "SSL_CERT_DIR="+none)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	if roots.Equal(x509.NewCertPool()) {
		t.Error("no authority is trusted, want those of the binary")
	}
}
