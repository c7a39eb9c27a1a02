package learn

import "github.com/kube-prepull/kube-prepull/api/fair"

// everywhere is the scope of all lookups; no namespace has that name.
const everywhere = "*"

// shares counts the lookups that wait by scope, a namespace or everywhere, and by the client on whose account they do.
type shares map[string]fair.Shares

func (s shares) add(l *lookup, n int64) {
	for _, scope := range []string{everywhere, l.namespace} {
		if s[scope] == nil {
			s[scope] = fair.Shares{}
		}
		s[scope].Add(l.client, n)
		if len(s[scope]) == 0 {
			delete(s, scope)
		}
	}
}
