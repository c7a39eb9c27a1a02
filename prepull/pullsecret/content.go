// Package pullsecret reads the credentials in pull secrets as the kubelet does, finds those for a repository, and hides them
// where somebody quotes them.
package pullsecret

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxCredentials bounds the credentials of one pull secret, in bytes: they are held in memory.
const maxCredentials = 64 << 10

// config is a Docker configuration as far as the kubelet reads it.
type config struct {
	Auths map[string]written `json:"auths"`
}

// written is the entry of one registry.
type written struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Email    string `json:"email,omitempty"`
	Auth     string `json:"auth,omitempty"`
}

// login is what the kubelet makes of an entry: it prefers the field auth, base64 of username:password, padded or not. It is
// false if a kubelet cannot read it.
func (w written) login() (l Login, readable bool) {
	if w.Auth == "" {
		return Login{w.Username, w.Password}, true
	}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(w.Auth), "="))
	username, password, found := strings.Cut(string(decoded), ":")
	return Login{username, password}, err == nil && found
}

// Parse returns the credentials in a Secret as the content of a kubernetes.io/dockerconfigjson one, or in words
// why there are none. It keeps what the kubelet reads and nothing else: the kubelet takes an image for one that a pod may
// use if username, password and email are the same. Equal credentials give equal content. The words tell nothing of it.
func Parse(s *corev1.Secret) (content []byte, problem string) {
	var config config
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
	for _, w := range config.Auths {
		// A kubelet that cannot read one entry starts no container of the pod.
		if w.Auth != "" && !readableAuth(w.Auth) {
			return nil, "holds no credentials that a kubelet can read"
		}
	}
	content, err = json.Marshal(config)
	if err != nil {
		return nil, "holds no credentials that a kubelet can read"
	}
	if len(content) > maxCredentials {
		return nil, fmt.Sprintf("holds more than %d KiB of credentials", maxCredentials>>10)
	}
	return content, ""
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

// Hash of the content of a pull secret, as Parse returns it.
func Hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
