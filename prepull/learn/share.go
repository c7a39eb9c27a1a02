package learn

// everywhere is the scope of all looks; no namespace has that name.
const everywhere = "*"

// shares counts the looks that wait by scope, a namespace or everywhere, and by the client on whose account they do.
type shares map[string]map[string]int

func (s shares) add(l *look, n int) {
	for _, scope := range []string{everywhere, l.namespace} {
		if s[scope] == nil {
			s[scope] = map[string]int{}
		}
		if s[scope][l.client] += n; s[scope][l.client] == 0 {
			delete(s[scope], l.client)
		}
		if len(s[scope]) == 0 {
			delete(s, scope)
		}
	}
}

// most is the client that has the most looks in a scope.
func (s shares) most(scope string) (client string) {
	for other, looks := range s[scope] {
		if has := s[scope][client]; looks > has || looks == has && other < client {
			client = other
		}
	}
	return client
}

// givesWay says whether a look of a client has to give way to one of another: only if that has fewer even then.
func (s shares) givesWay(scope, client, to string) bool { return s[scope][client] > s[scope][to]+1 }
