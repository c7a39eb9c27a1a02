// Package fair shares out what is bounded among clients: who has the most of it gives way to who has less. So who takes
// much, or sends slowly, keeps nobody out but himself.
package fair

// Shares is how much each client has, in whatever unit; clients that have nothing are not in it.
type Shares map[string]int64

// Add gives a client n more, or takes it back if n is negative.
func (s Shares) Add(client string, n int64) {
	if s[client] += n; s[client] == 0 {
		delete(s, client)
	}
}

// Most is the client that has the most, of several the first by name; empty if nobody has anything.
func (s Shares) Most() (client string) {
	for other, has := range s {
		if most := s[client]; has > most || has == most && other < client {
			client = other
		}
	}
	return client
}

// GivesWay says whether a client has to give way to another one that wants n: only if that has less even then.
func (s Shares) GivesWay(client, to string, n int64) bool { return s[client] > s[to]+n }
