// Package clock has the waits and intervals of kube-prepull that only kube-prepull depends on, and how long it lets
// admissions wait. They are one value, so that a build for tests can be quicker itself, and more patient with a machine
// that many tests share. What else others get is the same in every build, and stays where it is used.
package clock

import "time"

// Clocks are what a manager waits, and how often it looks. Production has the ones that are shipped.
type Clocks struct {
	// LeaseRetry is how often a replica tries to get or renew the lease. A leader that was killed is replaced after the
	// lease and at most two of these. 2 seconds.
	LeaseRetry time.Duration

	// GatherTime is from the first change of a plan until it is carried out. 2 seconds.
	GatherTime time.Duration

	// MinGap is the time between two changes of the DaemonSets. Together with what comes before it, a new image is in one
	// within 10 seconds. If images fail, the gap to the next one that fails doubles, up to MaxGap. 8 seconds, 10 minutes.
	MinGap, MaxGap time.Duration

	// UrgentGap is the time between two changes if good images wait behind one that fails: every node with it stands
	// still. 1 second.
	UrgentGap time.Duration

	// UrgentRefill is after what time there may be one urgent change more, when a few were made in a row. 2 minutes.
	UrgentRefill time.Duration

	// JoinGap is how long a change of the list waits for a node that joins to have one image more: the change starts the
	// pull that is under way there anew. It doubles each time the node had none more, up to MaxGap. 30 seconds.
	JoinGap time.Duration

	// PassPace is the least time between two passes of the reconciler. What happens in between is seen together. 250
	// milliseconds.
	PassPace time.Duration

	// PassRetry is when the next pass comes after an error, twice as long after each further one, MaxPassRetry at most.
	// 500 milliseconds, 30 seconds.
	PassRetry, MaxPassRetry time.Duration

	// FirstResyncPace is how often is looked whether the first resync is over. 500 milliseconds.
	FirstResyncPace time.Duration

	// ProgressInterval is how often the numbers in a status are written while nothing else in it changes. 10 seconds.
	ProgressInterval time.Duration

	// MoveGather is how long changes of where pods run are gathered: nodes of a new pool come together. 1 second.
	MoveGather time.Duration

	// NoticePace is in what time there may be one Event more, when many were made at once. 5 seconds.
	NoticePace time.Duration

	// FirstList is how long after a hint pods are searched for: those of one owner come in groups. 1 second.
	FirstList time.Duration

	// StartsFlush is how often counted starts are written. 1 minute.
	StartsFlush time.Duration

	// StartsRetry is the wait before container starts are counted again after an error. 10 seconds.
	StartsRetry time.Duration

	// ResyncDelay lets a script that works on namespaces one by one cause few resyncs, and what it makes in a new
	// namespace be there to be read. 500 milliseconds.
	ResyncDelay time.Duration

	// ResyncRetry is the wait before a namespace that could not be read is tried again, doubling up to the configured
	// interval. 1 second.
	ResyncRetry time.Duration

	// ResyncPause is the least time between two resyncs of all namespaces; it doubles with each failure in a row but the
	// first. Neither is longer than the configured interval. 10 seconds.
	ResyncPause time.Duration

	// OptOutTime is how long what was learned in a namespace is kept once its label is taken off: it may be put on again. 1
	// minute.
	OptOutTime time.Duration

	// SecretInterval is how often a pull secret in use is read, DeniedInterval the same while the registry denies an image
	// that uses it, and SecretRetry is when a read that failed is tried again. 5 minutes, 1 minute, 10 seconds.
	SecretInterval, DeniedInterval, SecretRetry time.Duration

	// RefreshPace is how often is looked whether a registry should be asked. 500 milliseconds.
	RefreshPace time.Duration

	// SettleTime is how long after its CA was published a replica serves a certificate. Until then an API server may not
	// have heard of it. 5 seconds.
	SettleTime time.Duration

	// RetireTime is how long a CA that was replaced without notice stays published: well over SettleTime. 30 seconds.
	RetireTime time.Duration

	// LeafRetry is how soon a replica looks again that has no certificate. 2 seconds.
	LeafRetry time.Duration

	// CertManagerLook is how often the leader looks whether cert-manager is there, and whether its objects are as they
	// should be, and CertManagerWork the same while cert-manager has something to do. 15 seconds, 2 seconds.
	CertManagerLook, CertManagerWork time.Duration

	// DirectoryInterval is how often a directory with a certificate is read: a Secret that is mounted takes a minute to
	// change anyway. 10 seconds.
	DirectoryInterval time.Duration

	// PendingInterval is how often pods that have not started are looked at: few, and a digest that is gone shows there.
	// 30 seconds.
	PendingInterval time.Duration

	// AdmissionTime is what an admission takes at most, whatever registries do. 1.2 seconds.
	AdmissionTime time.Duration

	// ResolveTime is how long a registry has for an answer that an admission waits for, and how long before that one waits
	// for a place. An admission gives up earlier; the answer is then there for the next one. 1.5 seconds.
	ResolveTime time.Duration

	// LabelTime is how long an admission waits for the label of its namespace to be known: it was to the API server that
	// sent it, as when a manifest begins with a Namespace. 300 milliseconds.
	LabelTime time.Duration
}

// Production are the clocks of every release.
func Production() Clocks {
	return Clocks{
		LeaseRetry: 2 * time.Second,

		GatherTime:   2 * time.Second,
		MinGap:       8 * time.Second,
		MaxGap:       10 * time.Minute,
		UrgentGap:    time.Second,
		UrgentRefill: 2 * time.Minute,
		JoinGap:      30 * time.Second,

		PassPace:         250 * time.Millisecond,
		PassRetry:        500 * time.Millisecond,
		MaxPassRetry:     30 * time.Second,
		FirstResyncPace:  500 * time.Millisecond,
		ProgressInterval: 10 * time.Second,
		MoveGather:       time.Second,
		NoticePace:       5 * time.Second,

		FirstList:      time.Second,
		StartsFlush:    time.Minute,
		StartsRetry:    10 * time.Second,
		ResyncDelay:    500 * time.Millisecond,
		ResyncRetry:    time.Second,
		ResyncPause:    10 * time.Second,
		OptOutTime:     time.Minute,
		SecretInterval: 5 * time.Minute,
		DeniedInterval: time.Minute,
		SecretRetry:    10 * time.Second,
		RefreshPace:    500 * time.Millisecond,

		SettleTime:        5 * time.Second,
		RetireTime:        30 * time.Second,
		LeafRetry:         2 * time.Second,
		CertManagerLook:   15 * time.Second,
		CertManagerWork:   2 * time.Second,
		DirectoryInterval: 10 * time.Second,

		PendingInterval: 30 * time.Second,

		AdmissionTime: 1200 * time.Millisecond,
		ResolveTime:   1500 * time.Millisecond,
		LabelTime:     300 * time.Millisecond,
	}
}

// Faster are the same clocks, each n times as fast, and admissions may wait n times as long. It is for tests.
func (c Clocks) Faster(n int) Clocks {
	for _, d := range []*time.Duration{
		&c.LeaseRetry,
		&c.GatherTime, &c.MinGap, &c.MaxGap, &c.UrgentGap, &c.UrgentRefill, &c.JoinGap,
		&c.PassPace, &c.PassRetry, &c.MaxPassRetry, &c.FirstResyncPace, &c.ProgressInterval, &c.MoveGather, &c.NoticePace,
		&c.FirstList, &c.StartsFlush, &c.StartsRetry, &c.ResyncDelay, &c.ResyncRetry, &c.ResyncPause, &c.OptOutTime,
		&c.SecretInterval, &c.DeniedInterval, &c.SecretRetry, &c.RefreshPace,
		&c.SettleTime, &c.RetireTime, &c.LeafRetry, &c.CertManagerLook, &c.CertManagerWork, &c.DirectoryInterval,
		&c.PendingInterval,
	} {
		*d /= time.Duration(n)
	}
	for _, d := range []*time.Duration{&c.AdmissionTime, &c.ResolveTime, &c.LabelTime} {
		*d *= time.Duration(n)
	}
	return c
}
