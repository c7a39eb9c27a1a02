// Package pullsecret reads the credentials in pull secrets as the kubelet does, finds those for a repository, and hides them
// where somebody quotes them.
package pullsecret

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What is used of one pull secret at most: it is held in memory, and so is each form in which a login may be quoted.
const (
	maxCredentials = 64 << 10 // bytes of all entries
	maxLogins      = 64
	maxLogin       = 4 << 10 // bytes of a username and its password
)

// Config is a Docker configuration as far as the kubelet reads it.
type Config struct {
	Auths map[string]Entry `json:"auths"`
}

// Entry is what a configuration says of one registry or repository. The kubelet prefers Auth, base64 of username:password, to
// the first two.
type Entry struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Email    string `json:"email,omitempty"`
	Auth     string `json:"auth,omitempty"`
}

// login is what the kubelet makes of an entry, whose field auth may be padded or not. It is false if a kubelet cannot read it.
func (e Entry) login() (l Login, readable bool) {
	if e.Auth == "" {
		return Login{e.Username, e.Password}, true
	}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(e.Auth), "="))
	username, password, found := strings.Cut(string(decoded), ":")
	return Login{username, password}, err == nil && found
}

// Parse returns the credentials in a Secret as the content of a kubernetes.io/dockerconfigjson one, or in words
// why there are none. It keeps what the kubelet reads and nothing else: the kubelet takes an image for one that a pod may
// use if username, password and email are the same. Equal credentials give equal content. The words tell nothing of it.
func Parse(s *corev1.Secret) (content []byte, problem string) {
	var config Config
	var err error
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		err = json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &config)
	case corev1.SecretTypeDockercfg:
		err = json.Unmarshal(s.Data[corev1.DockerConfigKey], &config.Auths)
	default:
		return nil, "is not of a type for pulling images"
	}
	if err != nil || len(config.Auths) == 0 {
		return nil, "holds no credentials that a kubelet can read"
	}
	if len(config.Auths) > maxLogins {
		return nil, fmt.Sprintf("holds more than %d logins", maxLogins)
	}
	for _, e := range config.Auths {
		// A kubelet that cannot read one entry starts no container of the pod.
		if e.Auth != "" && !readableAuth(e.Auth) {
			return nil, "holds no credentials that a kubelet can read"
		}
		if l, _ := e.login(); len(l.Username)+len(l.Password) > maxLogin {
			return nil, fmt.Sprintf("holds a login of more than %d KiB", maxLogin>>10)
		}
	}
	if content = config.Content(); len(content) > maxCredentials {
		return nil, fmt.Sprintf("holds more than %d KiB of credentials", maxCredentials>>10)
	}
	return content, ""
}

// Content is what a kubernetes.io/dockerconfigjson Secret holds with a configuration. Equal ones give equal content.
func (c Config) Content() []byte {
	content, _ := json.Marshal(c) // strings in maps can be encoded
	return content
}

// Equal tells whether two configurations say the same.
func (c Config) Equal(other Config) bool { return maps.Equal(c.Auths, other.Auths) }

// Read parses what Parse returned. What is no configuration has no entries.
func Read(content []byte) Config {
	var config Config
	if json.Unmarshal(content, &config) != nil {
		return Config{}
	}
	return config
}

// readableAuth tells whether a kubelet can decode the field auth: base64 of username:password, padded or not.
func readableAuth(auth string) bool {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(strings.TrimSpace(auth), "=") {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(auth)
	return err == nil && strings.Contains(string(decoded), ":")
}
