package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

// keyStore has service accounts and Secrets by their names, and counts how often they are read.
type keyStore struct {
	client.Reader
	mu       sync.Mutex
	accounts map[string][]string
	secrets  map[string]corev1.Secret
	reads    int
	takes    time.Duration
	err      error
}

func (s *keyStore) Get(ctx context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	missing := apierrors.NewNotFound(schema.GroupResource{Resource: "objects"}, key.Name)
	if s.err != nil {
		return s.err
	}
	switch o := into.(type) {
	case *corev1.ServiceAccount:
		names, found := s.accounts[key.Name]
		if !found {
			return missing
		}
		for _, name := range names {
			o.ImagePullSecrets = append(o.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
		}
	case *corev1.Secret:
		if key.Name == "forbidden" {
			return apierrors.NewForbidden(corev1.Resource("secrets"), key.Name, nil)
		}
		secret, found := s.secrets[key.Name]
		if !found {
			return missing
		}
		*o = secret
	}
	return nil
}

func dockerSecret(content string) corev1.Secret {
	return corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(content)}}
}

func TestPullKeysAreThoseOfTheKubelet(t *testing.T) {
	t.Parallel()
	store := &keyStore{
		accounts: map[string][]string{"default": {"b", "a"}, "robot": {"", "gone", "old"}},
		secrets: map[string]corev1.Secret{
			"a": dockerSecret(`{"auths":{"a":{}}}`), "b": dockerSecret(`{"auths":{"b":{}}}`),
			"old":    {Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(`{"old":{}}`)}},
			"opaque": {Type: corev1.SecretTypeOpaque, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"no":{}}}`)}},
		},
	}
	for name, test := range map[string]struct {
		template pins.Template
		pod      bool
		want     []string
	}{
		"those of the default account, in its order": {pins.Template{}, false, []string{`{"auths":{"b":{}}}`, `{"auths":{"a":{}}}`}},
		"those of another account that are there":    {pins.Template{Account: "robot"}, false, []string{`{"auths":{"old":{}}}`}},
		"an account that is not there":               {pins.Template{Account: "ghost"}, false, nil},
		"its own and no others":                      {pins.Template{OwnSecrets: true, PullSecrets: []string{"a", "opaque", "gone"}}, false, []string{`{"auths":{"a":{}}}`}},
		"those that may be read":                     {pins.Template{OwnSecrets: true, PullSecrets: []string{"forbidden", "b"}}, false, []string{`{"auths":{"b":{}}}`}},
		"an empty list of its own":                   {pins.Template{OwnSecrets: true}, false, nil},
		"a pod has got those of its account":         {pins.Template{Account: "default"}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := newPullKeys(store, time.Second).of(t.Context(), "shop", &test.template, test.pod)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, key := range keys {
				got = append(got, string(key))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
	const most = 64 << 10 // what one Secret may have
	sized := func(n int) corev1.Secret {
		empty := `{"auths":{"":{}}}`
		return dockerSecret(`{"auths":{"` + strings.Repeat("x", n-len(empty)) + `":{}}}`)
	}
	store.secrets["large"] = sized(most + 1)
	var many []string
	for i := range 10 {
		name := fmt.Sprintf("many-%d", i)
		store.secrets[name] = sized(most / 2)
		many = append(many, name)
	}
	for name, test := range map[string]struct {
		secrets []string
		want    int
	}{
		"one that is too large is none":       {[]string{"large", "a"}, 1},
		"there are no more than a few of all": {many, maxTemplateKeys / (most / 2)},
	} {
		keys, err := newPullKeys(store, time.Second).of(t.Context(), "shop", &pins.Template{OwnSecrets: true, PullSecrets: test.secrets}, false)
		if err != nil || len(keys) != test.want {
			t.Errorf("%s: %d keys and the error %v, want %d keys", name, len(keys), err, test.want)
		}
	}
	store.err = errors.New("the API server is away")
	if _, err := newPullKeys(store, time.Second).of(t.Context(), "shop", &pins.Template{}, false); err == nil {
		t.Error("keys that cannot be read are taken for none")
	}
}

func TestABurstReadsEachKeyOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{accounts: map[string][]string{"default": {"a"}}, secrets: map[string]corev1.Secret{"a": dockerSecret(`{"auths":{"a":{}}}`)}, takes: 10 * time.Millisecond}
		keys := newPullKeys(store, time.Second)
		var burst sync.WaitGroup
		errs := make([]error, 1000)
		for i := range errs {
			burst.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if i == 0 {
					cancel() // the first who asks does not wait
				}
				defer cancel()
				got, err := keys.of(ctx, "shop", &pins.Template{}, false)
				if i > 0 && (err != nil || len(got) != 1) {
					errs[i] = fmt.Errorf("%d keys: %w", len(got), err)
				}
			})
		}
		burst.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		if store.reads != 2 {
			t.Errorf("%d reads, want 2", store.reads)
		}
		store.secrets["a"] = dockerSecret(`{"auths":{"rotated":{}}}`)
		time.Sleep(keyMemory + time.Nanosecond)
		if got, err := keys.of(t.Context(), "shop", &pins.Template{}, false); err != nil || string(got[0]) != `{"auths":{"rotated":{}}}` {
			t.Errorf("later it is %s, %v", got, err)
		}
	})
}
