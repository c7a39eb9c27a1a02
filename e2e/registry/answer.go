package registry

import (
	"encoding/json"
	"net/http"
)

// codes are the error codes of the distribution specification for the statuses that have one.
var codes = map[int]string{
	http.StatusUnauthorized:                 "UNAUTHORIZED",
	http.StatusForbidden:                    "DENIED",
	http.StatusNotFound:                     "NAME_UNKNOWN",
	http.StatusRequestedRangeNotSatisfiable: "BLOB_UPLOAD_INVALID",
	http.StatusTooManyRequests:              "TOOMANYREQUESTS",
}

// refuse answers with an error in the form of the distribution specification.
func refuse(w http.ResponseWriter, status int, message string) {
	code, ok := codes[status]
	if !ok {
		code = "UNKNOWN"
	}
	type problem struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	answer(w, status, map[string][]problem{"errors": {{code, message}}})
}

// answer writes a value as JSON.
func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client is gone: there is nobody to tell
}

// bodyWriter is a ResponseWriter whose body goes through a function.
type bodyWriter struct {
	http.ResponseWriter
	write func([]byte) (int, error)
}

func (w bodyWriter) Write(p []byte) (int, error) { return w.write(p) }

// Unwrap lets http.ResponseController find the connection.
func (w bodyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
