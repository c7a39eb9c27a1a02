// Command intruder is what an image of a test runs in a container of somebody else if it can: it says so where the kubelet
// reads the last words of a container, and fails.
package main

import "os"

func main() {
	_ = os.WriteFile("/dev/termination-log", []byte("owned"), 0o644) // it fails in any case
	os.Exit(1)
}
