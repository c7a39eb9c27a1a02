package pullsecret

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func configSecret(content string) *corev1.Secret {
	return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(content)}}
}

func cfgSecret(content string) *corev1.Secret {
	return &corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(content)}}
}

func TestDockerConfig(t *testing.T) {
	t.Parallel()
	const unreadable = "holds no credentials that a kubelet can read"
	auth := base64.StdEncoding.EncodeToString([]byte("me:planted-secret"))
	long := func(logins, size int) string {
		var entries []string
		for i := range logins {
			entries = append(entries, fmt.Sprintf(`"r%d.test":{"password":%q}`, i, strings.Repeat("x", size)))
		}
		return `{"auths":{` + strings.Join(entries, ",") + `}}`
	}
	for name, tc := range map[string]struct {
		secret  *corev1.Secret
		content string
		problem string
	}{
		"a user, a password and an address stay": {
			configSecret(`{"auths":{"r.test":{"username":"u","password":"p<>&","email":"e@x"}}}`),
			`{"auths":{"r.test":{"username":"u","password":"p\u003c\u003e\u0026","email":"e@x"}}}`, "",
		},
		"what no kubelet reads is not copied": {
			configSecret(`{"credHelpers":{"a":"b"},"HttpHeaders":{"X":"planted-secret"},"auths":{"r.test":{"auth":"` + auth + `","identitytoken":"planted-secret"}}}`),
			`{"auths":{"r.test":{"auth":"` + auth + `"}}}`, "",
		},
		"registries are in one order": {
			configSecret(`{"auths":{"z.test":{"username":"z"},"a.test":{"username":"a"}}}`),
			`{"auths":{"a.test":{"username":"a"},"z.test":{"username":"z"}}}`, "",
		},
		"the old type becomes the new one":         {cfgSecret(`{"r.test":{"username":"u","password":"p"}}`), `{"auths":{"r.test":{"username":"u","password":"p"}}}`, ""},
		"another type":                             {&corev1.Secret{Type: corev1.SecretTypeOpaque, Data: configSecret(`{"auths":{"r.test":{}}}`).Data}, "", "is not of a type for pulling images"},
		"no JSON":                                  {configSecret(`planted-secret`), "", unreadable},
		"no data":                                  {&corev1.Secret{Type: corev1.SecretTypeDockerConfigJson}, "", unreadable},
		"no registry":                              {configSecret(`{"auths":{}}`), "", unreadable},
		"a list instead of a map":                  {cfgSecret(`["planted-secret"]`), "", unreadable},
		"an auth that is not base64":               {configSecret(`{"auths":{"r.test":{"auth":"planted-secret!"}}}`), "", unreadable},
		"an auth without a colon":                  {configSecret(`{"auths":{"r.test":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("x")) + `"}}}`), "", unreadable},
		"more than is held in memory":              {configSecret(long(17, maxLogin)), "", "holds more than 64 KiB of credentials"},
		"more logins than are used":                {configSecret(long(maxLogins+1, 1)), "", "holds more than 64 logins"},
		"a login that is too long":                 {configSecret(long(1, maxLogin+1)), "", "holds a login of more than 4 KiB"},
		"the key of the other type does not count": {&corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: configSecret(`{"auths":{"r.test":{}}}`).Data}, "", unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content, problem := Parse(tc.secret)
			if string(content) != tc.content || problem != tc.problem {
				t.Errorf("%s, %q\nwant %s, %q", content, problem, tc.content, tc.problem)
			}
			if strings.Contains(problem, "planted") {
				t.Error("the words tell the secret")
			}
		})
	}
}

func TestBothTypesWithEqualCredentialsAreEqual(t *testing.T) {
	t.Parallel()
	a, _ := Parse(configSecret(`{ "auths": {"r.test": {"password":"p", "username":"u"}} }`))
	b, _ := Parse(cfgSecret(`{"r.test":{"username":"u","password":"p"}}`))
	if string(a) != string(b) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// FuzzDockerConfig reads pull secrets as their owners may write them: what is copied is bounded, reads the same again, and
// no words about it tell any of it. What it takes in memory is bounded, garbage included.
func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"r.test":{"username":"u","password":"p","auth":"dTpw"}}}`), true)
	f.Add([]byte(`{"r.test":{"auth":"dTpw="}}`), false)
	f.Add([]byte(`{"auths":{"r.test":null}}`), true)
	for _, element := range []string{`"":null,`, `"":{},`, `"":{"":""},`} {
		f.Add([]byte(`{"auths":{`+strings.Repeat(element, 1000)+`"a":{}}}`), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, json bool) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		defer func() {
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1000*len(data)+4<<20) {
				t.Errorf("%d bytes take %d", len(data), took)
			}
		}()
		s := cfgSecret(string(data))
		if json {
			s = configSecret(string(data))
		}
		content, problem := Parse(s)
		if (content == nil) == (problem == "") || len(content) > maxCredentials {
			t.Fatalf("%d bytes, %q", len(content), problem)
		}
		if content == nil {
			return
		}
		if again, problem := Parse(configSecret(string(content))); string(again) != string(content) {
			t.Errorf("%s becomes %s, %q", content, again, problem)
		}
		for _, word := range Words(content) {
			if len(word) < minSecret {
				t.Errorf("%q is hidden", word)
			}
		}
	})
}
