package privilege

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Event is what a line of the audit log tells: one request.
type Event struct {
	Access
	Time time.Time
	// Refused is whether the roles did not allow it. What an admission plugin refuses was allowed to be asked.
	Refused bool
}

// auditEvent is the part of an audit.k8s.io/v1 Event that counts. The client library does not have the type.
type auditEvent struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef *struct {
		APIGroup    string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Received    time.Time         `json:"requestReceivedTimestamp"`
	Annotations map[string]string `json:"annotations"`
}

// ReadLog calls a function with each request of a ServiceAccount for a resource. A watch may be told of twice: as it
// starts and as it ends. It returns at the first line that is no event.
func ReadLog(log io.Reader, each func(Event)) error {
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what follows the last newline is being written
		}
		if err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("reading the audit log: %w: %s", err, line)
		}
		account, ours := strings.CutPrefix(e.User.Username, "system:serviceaccount:")
		if !ours || e.ObjectRef == nil || e.ObjectRef.Resource == "" {
			continue
		}
		event := Event{
			Access:  e.access(strings.Replace(account, ":", "/", 1)),
			Time:    e.Received,
			Refused: e.Annotations["authorization.k8s.io/decision"] == "forbid",
		}
		each(event)
		if e.Verb == "patch" && e.ResponseStatus.Code == http.StatusCreated {
			// What is applied and not there is created, and that must be allowed too.
			event.Verb, event.Name = "create", ""
			each(event)
		}
	}
}

func (e *auditEvent) access(account string) Access {
	access := Access{Account: account, Namespace: e.ObjectRef.Namespace, Verb: e.Verb, Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource, Name: e.ObjectRef.Name}
	if e.ObjectRef.Subresource != "" {
		access.Resource += "/" + e.ObjectRef.Subresource
	} else if e.Verb == "create" {
		// The log has it from the body, which is read after the request was authorized.
		access.Name = ""
	}
	return access
}
