package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestEveryMissingPermissionIsNamed starts a manager on this machine as a ServiceAccount without roles.
func TestEveryMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "powerless", false)
	ctx, client := t.Context(), p.Client()
	clusterRole, err := client.RbacV1().ClusterRoles().Get(ctx, "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role, err := client.RbacV1().Roles(lab.System).Get(ctx, "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := append(permissions(clusterRole.Rules, ""), permissions(role.Rules, fmt.Sprintf(" in namespace %q", lab.System))...)
	slices.Sort(want)
	binary, err := lab.Command("cmd/kube-prepull")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, missingPermissions(t, binary, p.account(t, "powerless", "nobody"))); diff != "" {
		t.Errorf("without any role (-missing +named):\n%s", diff)
	}
}

// permissions are what rules grant, one by one and in words.
func permissions(rules []rbacv1.PolicyRule, where string) []string {
	var words []string
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			if group := rule.APIGroups[0]; group != "" {
				resource += "." + group
			}
			if len(rule.ResourceNames) > 0 {
				resource += fmt.Sprintf(" %q", rule.ResourceNames[0])
			}
			for _, verb := range rule.Verbs {
				words = append(words, verb+" "+resource+where)
			}
		}
	}
	return words
}

// account makes a ServiceAccount, and returns a kubeconfig that acts as it.
func (p product) account(t *testing.T, namespace, name string) string {
	t.Helper()
	accounts := p.Client().CoreV1().ServiceAccounts(namespace)
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return p.actAs(t, namespace, name)
}

// actAs returns a kubeconfig that acts as a ServiceAccount.
func (p product) actAs(t *testing.T, namespace, name string) string {
	t.Helper()
	token, err := p.Client().CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(p.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// missingPermissions runs a manager that must fail, and returns what its last line misses, sorted.
func missingPermissions(t *testing.T, binary, kubeconfig string) []string {
	t.Helper()
	// Its usual port may be in use on this machine.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	configuration := fmt.Sprintf("apiVersion: kube-prepull.io/v1alpha1\nkind: Configuration\nnoopImage: noop\nhealthAddress: %s\n", listener.Addr())
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	output, err := exec.CommandContext(ctx, binary, "--config="+file, "--kubeconfig="+kubeconfig, "--namespace="+lab.System).CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("the manager ended with %v, want exit status 1:\n%s", err, output)
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	var last struct{ Error string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	text, ok := strings.CutPrefix(last.Error, "missing permissions: ")
	if !ok {
		t.Fatalf("the manager says %q", last.Error)
	}
	missing := strings.Split(text, "; ")
	slices.Sort(missing)
	return missing
}
