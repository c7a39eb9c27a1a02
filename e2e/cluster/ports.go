package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// firstPort and lastPort are below the range from which the kernel takes ports for connections, and where others listen that
// ask for any port: a port that is free when it is chosen is still free when its program starts.
const (
	firstPort = 12000
	lastPort  = 29999
)

// errTaken is why there is no port where none could even be tried.
var errTaken = errors.New("other clusters have them all")

// portClaims are the ports that a cluster has chosen. As long as its process lives, no other cluster of the machine chooses them.
type portClaims struct{ held []net.Listener }

// claim chooses ports of an address that nothing listens on.
func (c *portClaims) claim(ip string, n int) ([]int, error) {
	var ports []int
	var why error
	for _, offset := range rand.Perm(lastPort - firstPort + 1) {
		if len(ports) == n {
			return ports, nil
		}
		port := firstPort + offset
		held, err := net.Listen("unix", fmt.Sprintf("@kube-prepull-test-port-%d", port))
		if err != nil {
			continue // another cluster's
		}
		l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			held.Close()
			why = err
			continue
		}
		l.Close()
		c.held = append(c.held, held)
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("no port of %s is left for a cluster: %w", ip, cmp.Or(why, errTaken))
}
