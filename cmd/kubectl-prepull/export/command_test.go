package export

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

func TestANodeThatIsYetToCome(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]string{
		"":                        {"kubernetes.io/os": "linux"},
		"pool=web":                {"kubernetes.io/os": "linux", "pool": "web"},
		"pool in (web, api)":      {"kubernetes.io/os": "linux", "pool": "api"},
		"gpu":                     {"kubernetes.io/os": "linux", "gpu": ""},
		"!gpu,pool!=web,a==b":     {"kubernetes.io/os": "linux", "a": "b"},
		"kubernetes.io/arch=s390": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "s390"},
	} {
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, imagined(selector, nil).Labels); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
	}
}

func TestANodeThatIsYetToComeHasWhateverDevices(t *testing.T) {
	t.Parallel()
	image := v1alpha1.PrepullImage{Status: v1alpha1.PrepullImageStatus{Placements: []v1alpha1.Placement{{}, {Resources: []string{"example.com/gpu"}}}}}
	node := imagined(labels.Everything(), []v1alpha1.PrepullImage{image})
	if why := nodeclass.Unfit(&node, &image.Status.Placements[1]); why != "" {
		t.Error(why)
	}
}

func TestAPlatformIsLabelsOfNodes(t *testing.T) {
	t.Parallel()
	selector, err := choice{selector: "pool=web", platform: "linux/arm64"}.labels()
	if err != nil || selector.String() != "kubernetes.io/arch=arm64,kubernetes.io/os=linux,pool=web" {
		t.Errorf("the selector is %q (%v)", selector, err)
	}
}

func TestWhatIsLeftOutForOneReasonHasOneNote(t *testing.T) {
	t.Parallel()
	absent := []plan.Absent{{Name: "a:1", Why: "Too much."}, {Name: "b:1", Why: "Not found."}, {Name: "c:1", Why: "Too much."}, {Name: "d:1", Why: "Too much."}}
	if diff := cmp.Diff([]string{"b:1 is left out: Not found.", "a:1 and 2 more are left out: Too much."}, leftOut(absent)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCommandLinesThatAreWrong(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"--node a --platform linux/amd64": {2, "error: --node says which labels and platform the nodes have"},
		"--node-selector a=b=c":           {2, "error: --node-selector and --platform: "},
		"--platform windows/amd64":        {2, "error: --platform must be linux/ and an architecture"},
		"--platform linux/arm/v7":         {2, "error: --platform must be linux/ and an architecture"},
		"--platform linux/a_":             {2, "error: --node-selector and --platform: "},
		"--max-bytes many":                {2, "error: --max-bytes must be a quantity"},
		"--max-bytes -1":                  {2, "error: --max-bytes must be a quantity"},
		"--format xml":                    {2, "error: --format must be one of aks-prepared-image, bash-crictl, bash-ctr, cloud-init, daemonset, eks-user-data, gke-boot-disk, list, prepullimages, not \"xml\""},
		"--parallel 65":                   {2, "error: --parallel must be from 1 to 64"},
		"more":                            {2, "error: export takes no arguments, and \"more\" is one"},
		"--max-bytes 1Gi":                 {1, "error: looking for the kind PrepullImage: "},
	} {
		var out, errOut bytes.Buffer
		env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &out, ErrOut: &errOut})
		server := "http://127.0.0.1:1" // where nothing answers
		env.Kube.APIServer = &server
		c := Command(env)
		c.SetErr(&errOut)
		code := cli.Execute(t.Context(), c, strings.Fields(args))
		if code != want.code || !strings.HasPrefix(errOut.String(), want.text) || out.Len() > 0 {
			t.Errorf("%s ends with %d:\n%s%s", args, code, &out, &errOut)
		}
	}
}
