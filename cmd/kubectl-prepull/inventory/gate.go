package inventory

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// ReadGateKey reads the key of the gate's taint from the configuration of the manager. Where there is none, or it may not be
// read, known is false and the key is the default: the taint must go even if all else is gone.
func ReadGateKey(ctx context.Context, c client.Reader, home string) (key string, known bool, err error) {
	config, err := readConfiguration(ctx, c, home)
	if err != nil {
		return "", false, err
	}
	key, err = gateKey(config)
	return key, config != nil, err
}

// PossibleGateKeys are the keys of taints on nodes that a gate may have, sorted.
func PossibleGateKeys(ctx context.Context, c client.Reader) ([]string, error) {
	var keys []string
	err := Pages(ctx, c, func() *corev1.NodeList { return &corev1.NodeList{} }, func(page *corev1.NodeList) {
		for i := range page.Items {
			for _, t := range page.Items[i].Spec.Taints {
				if v1alpha1.MayBeGate(t.Key) && !slices.Contains(keys, t.Key) {
					keys = append(keys, t.Key)
				}
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	slices.Sort(keys)
	return keys, nil
}

// readConfiguration reads the configuration of the manager, which is empty where there is none, or it may not be read.
func readConfiguration(ctx context.Context, c client.Reader, home string) ([]byte, error) {
	var stored corev1.ConfigMap
	err := c.Get(ctx, client.ObjectKey{Namespace: home, Name: v1alpha1.Name}, &stored)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the ConfigMap of the manager: %w", err)
	}
	return []byte(stored.Data["config.yaml"]), nil
}

// gateKey reads nothing else of a configuration, which may be one of another version.
func gateKey(config []byte) (string, error) {
	var c struct {
		Gate struct {
			TaintKey string `json:"taintKey"`
		} `json:"gate"`
	}
	if err := yaml.Unmarshal(config, &c); err != nil {
		return "", fmt.Errorf("reading gate.taintKey in the ConfigMap of the manager: %w", err)
	}
	if c.Gate.TaintKey == "" {
		return v1alpha1.TaintWarming, nil
	}
	return c.Gate.TaintKey, nil
}

// CheckTaintKey says why a key that was given cannot be that of a taint. An empty one was not given.
func CheckTaintKey(key string) error {
	if key == "" {
		return nil
	}
	// The rule is that of ValidateTaintsInNodeAddOrUpdate in pkg/apis/core/validation of Kubernetes.
	if problems := validation.IsQualifiedName(key); len(problems) > 0 {
		return cli.Usagef("--taint %q cannot be the key of a taint, such as %s: without value and effect, a prefix and a name of letters, digits, -, _ and .", key, v1alpha1.TaintWarming)
	}
	return nil
}

// NodesWithTaint returns the names of the nodes that have a taint with a key.
func NodesWithTaint(ctx context.Context, c client.Reader, key string) ([]string, error) {
	var names []string
	err := Pages(ctx, c, func() *corev1.NodeList { return &corev1.NodeList{} }, func(page *corev1.NodeList) {
		for i := range page.Items {
			if n := &page.Items[i]; HasTaint(n.Spec.Taints, key) {
				names = append(names, n.Name)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	return names, nil
}

// HasTaint tells whether one of the taints has a key.
func HasTaint(taints []corev1.Taint, key string) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool { return t.Key == key })
}
