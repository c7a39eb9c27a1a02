package workload

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// secretsNamed are those with names such as shop/login.
func secretsNamed(names string) []v1alpha1.SecretReference {
	var secrets []v1alpha1.SecretReference
	for text := range strings.FieldsSeq(names) {
		namespace, name, _ := strings.Cut(text, "/")
		secrets = append(secrets, v1alpha1.SecretReference{Namespace: namespace, Name: name})
	}
	return secrets
}

func TestNamespacesTakeTurns(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                        "",
		"a/1 a/2 a/3 z/1":         "a/1 z/1 a/2 a/3",
		"z/2 z/1 a/3 a/1 b/1 a/2": "a/3 b/1 z/2 a/1 z/1 a/2",
	} {
		if diff := cmp.Diff(secretsNamed(want), InTurn(secretsNamed(given))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", given, diff)
		}
	}
}

// FuzzSecretsAddUp adds pull secrets of several users in any order: the same are kept, and of each namespace as many as its part
// or all that it has.
func FuzzSecretsAddUp(f *testing.F) {
	f.Add([]byte{1, 2, 3, 250, 17}, uint8(2))
	for seed := range 40 {
		data := make([]byte, 120)
		for i := range data {
			data[i] = byte(seed*7919 + i*i*31 + i*seed)
		}
		f.Add(data, uint8(seed*13))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		if len(data) > 200 {
			return
		}
		var users []v1alpha1.SecretReference
		for _, b := range data {
			namespace := string(rune('a' + min(b%16, 4))) // most are of one
			users = append(users, v1alpha1.SecretReference{Namespace: namespace, Name: string(rune('a' + b/16))})
		}
		at := 0
		if len(users) > 0 {
			at = int(cut) % len(users)
		}
		all := mergeSecrets(nil, users)
		var one, other []v1alpha1.SecretReference
		for i := range users {
			one = mergeSecrets(one, users[i:i+1])
			other = mergeSecrets(other, users[len(users)-1-i:len(users)-i])
		}
		halves := mergeSecrets(mergeSecrets(nil, users[at:]), mergeSecrets(nil, users[:at]))
		for _, got := range [][]v1alpha1.SecretReference{one, other, halves, mergeSecrets(all, users), mergeSecrets(all, all)} {
			if diff := cmp.Diff(all, got); diff != "" {
				t.Fatalf("%v together in another order (-first +this):\n%s", users, diff)
			}
		}
		has, kept := map[string]map[string]bool{}, map[string]int{}
		for _, s := range users {
			if has[s.Namespace] == nil {
				has[s.Namespace] = map[string]bool{}
			}
			has[s.Namespace][s.Name] = true
		}
		for _, s := range all {
			kept[s.Namespace]++
		}
		for namespace, names := range has {
			if kept[namespace] < min(len(names), MaxPullSecrets/len(has)) {
				t.Fatalf("of the %d of %s %d are kept", len(names), namespace, kept[namespace])
			}
		}
	})
}
