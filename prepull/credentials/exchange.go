package credentials

import (
	"maps"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
)

// exchange is what the keeper and whoever plans tell each other. Neither waits for the other.
type exchange struct {
	// asks wakes the keeper, and changes whoever plans.
	asks, changes chan event.GenericEvent

	mu    sync.Mutex
	need  need
	known Knowledge
}

func newExchange(known Knowledge) exchange {
	return exchange{asks: make(chan event.GenericEvent, 1), changes: make(chan event.GenericEvent, 1), known: known}
}

// need is what a plan needs.
type need struct {
	// keys are what copies should have for images with a place.
	keys map[plan.Key]plan.Use

	// named are the copies that DaemonSets name.
	named map[string]bool

	// current is set if the plan was made with all that the keeper knows: it names no copy that is not known any more.
	current bool

	// told is set once somebody has said what is needed.
	told bool
}

// secrets are the pull secrets that are needed, true if the registry denies an image that needs it.
func (n need) secrets() map[v1alpha1.SecretReference]bool {
	secrets := map[v1alpha1.SecretReference]bool{}
	for key, use := range n.keys {
		secrets[key.Secret] = secrets[key.Secret] || use == plan.UseDenied
	}
	return secrets
}

// Knowledge is what is known of pull secrets at a time. It is only read.
type Knowledge struct {
	// Pulls is what has come of the needed pull secrets.
	Pulls plan.Pulls

	// Complete is set if a plan can be carried out: without the stored copies it would take them out of the DaemonSets.
	Complete bool

	// words are in pull secrets, sorted, and hider hides them; version tells one knowledge from another.
	words   []string
	hider   *strings.Replacer
	version int
}

// Known is what is known now.
func (e *exchange) Known() Knowledge {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known
}

// Need says which keys a plan needs that was made with some knowledge, and which DaemonSets are stored.
func (e *exchange) Need(k Knowledge, keys map[plan.Key]plan.Use, stored []*appsv1.DaemonSet) {
	n := need{keys: keys, named: namedCopies(stored), told: true}
	e.mu.Lock()
	defer e.mu.Unlock()
	n.current = k.version == e.known.version
	if was := e.need; was.told && n.current == was.current && maps.Equal(n.keys, was.keys) && maps.Equal(n.named, was.named) {
		return
	}
	e.need = n
	wake(e.asks)
}

// asked is what is needed.
func (e *exchange) asked() need {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.need
}

// publish makes something known, unless it is known already.
func (e *exchange) publish(k Knowledge) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if k.Complete == e.known.Complete && k.Pulls.Equal(e.known.Pulls) && slices.Equal(k.words, e.known.words) {
		return
	}
	k.version, k.hider = e.known.version+1, e.known.hider
	if !slices.Equal(k.words, e.known.words) {
		k.hider = pullsecret.Redactor(k.words)
	}
	e.known = k
	e.need.current = false
	wake(e.changes)
}

// wake puts an event into a channel, unless one waits there.
func wake(c chan event.GenericEvent) {
	select {
	case c <- event.GenericEvent{}:
	default:
	}
}
