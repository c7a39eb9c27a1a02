package bootstrap

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// scriptIn takes the script out of a format.
func scriptIn(t *testing.T, format, text string) string {
	t.Helper()
	switch format {
	case "eks-user-data":
		message, err := mail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
		if err != nil || kind != "multipart/mixed" {
			t.Fatalf("the user data is %s (%v)", kind, err)
		}
		part, err := multipart.NewReader(message.Body, params["boundary"]).NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if kind := part.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/x-shellscript") {
			t.Errorf("the part is %s", kind)
		}
		script, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		return string(script)
	case "cloud-init":
		var config struct {
			WriteFiles []struct{ Path, Content string } `json:"write_files"`
		}
		if err := yaml.UnmarshalStrict([]byte(text), &config, yaml.DisallowUnknownFields); err == nil {
			t.Error("runcmd is missing")
		}
		if err := yaml.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		return config.WriteFiles[0].Content
	}
	return text
}

var scriptFormats = []string{"bash-ctr", "bash-crictl", "eks-user-data", "cloud-init"}

func TestScriptsPassShellcheck(t *testing.T) {
	t.Parallel()
	if err := installShellcheck(t); err != nil {
		t.Fatal(err)
	}
	for _, format := range scriptFormats {
		script := scriptIn(t, format, rendered(t, format, "nginx:1.27", "[::1]:5000/a/b:v1"))
		cmd := exec.CommandContext(t.Context(), "shellcheck", "--shell=bash", "-")
		cmd.Stdin = strings.NewReader(script)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", format, err, output)
		}
	}
}

func installShellcheck(t *testing.T) error {
	if _, err := exec.LookPath("shellcheck"); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		t.Skip("SKIPPED: checking the scripts needs shellcheck, please install it")
	}
	t.Log("Installing shellcheck")
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "shellcheck"}} {
		cmd := exec.CommandContext(t.Context(), "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("installing shellcheck with apt-get: %w: %s", err, output)
		}
	}
	return nil
}

func TestAScriptPullsWhatItIsFor(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	names := []string{"nginx", "docker.io/library/nginx:latest", "registry.test:5000/a/b:v1", "[::1]:5000/c:v1", "registry.test/present:v1"}
	for format, want := range map[string][]string{
		// To containerd, the first two are one.
		"bash-ctr":      {"[::1]:5000/c:v1", "docker.io/library/nginx:latest", "registry.test:5000/a/b:v1"},
		"eks-user-data": {"[::1]:5000/c:v1", "docker.io/library/nginx:latest", "registry.test:5000/a/b:v1"},
		"cloud-init":    {"[::1]:5000/c:v1", "docker.io/library/nginx:latest", "registry.test:5000/a/b:v1"},
		"bash-crictl":   {"[::1]:5000/c:v1", "docker.io/library/nginx:latest", "nginx", "registry.test:5000/a/b:v1"},
	} {
		output, code := s.run(scriptIn(t, format, rendered(t, format, names...)))
		if got, calls := s.pulled(); !slices.Equal(got, want) || code != 0 {
			t.Errorf("%s pulls %q and ends with %d, want %q: %q\n%s", format, got, code, want, calls, output)
		}
	}
}

func TestAScriptGoesOnAfterAFailedImage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, format := range []string{"bash-ctr", "bash-crictl"} {
		output, code := s.run(rendered(t, format, "registry.test/missing:v1", "registry.test/other:v1"), "PREPULL_TRIES=2")
		got, _ := s.pulled()
		if want := []string{"registry.test/missing:v1", "registry.test/missing:v1", "registry.test/other:v1"}; !slices.Equal(got, want) {
			t.Errorf("%s pulls %q, want %q", format, got, want)
		}
		for _, want := range []string{
			"registry.test/missing:v1 is not pulled: registry.test/missing:v1: not found\n",
			"registry.test/other:v1 is pulled\n", "1 of 2 images are there after ",
		} {
			if !strings.Contains(output, want) {
				t.Errorf("%s prints\n%s\nwithout %q", format, output, want)
			}
		}
		if code != 1 {
			t.Errorf("%s ends with %d, want 1", format, code)
		}
	}
}

func TestAScriptPullsSomeImagesAtATime(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.run(rendered(t, "bash-ctr", "registry.test/slow:1", "registry.test/slow:2", "registry.test/slow:3", "registry.test/slow:4", "registry.test/slow:5"))
	level, most := 0, 0
	for _, step := range strings.Fields(s.only("level")) {
		if level++; step == "-" {
			level -= 2
		}
		most = max(most, level)
	}
	if most != 2 {
		t.Errorf("%d images were pulled at a time, want 2", most)
	}
}

func TestAScriptEndsInTime(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.program("ctr", "#!/bin/bash\n[ \"$1\" = version ] || [ \"$3\" = images -a \"$4\" = ls ] || exec sleep 60\n")
	output, code := s.run(rendered(t, "bash-crictl", "registry.test/a:v1"), "RUNTIME_DOWN=1", "PREPULL_TIMEOUT=1")
	if code != 2 || !strings.Contains(output, "the container runtime does not answer") {
		t.Errorf("without a runtime it ends with %d:\n%s", code, output)
	}
	output, code = s.run(rendered(t, "bash-ctr", "registry.test/a:v1"), "PREPULL_TIMEOUT=2")
	if code != 1 || !strings.Contains(output, "0 of 1 images are there after ") {
		t.Errorf("behind a pull that hangs it ends with %d:\n%s", code, output)
	}
}

func TestAScriptEndsInTimeWhateverHangs(t *testing.T) {
	t.Parallel()
	const hangs = "#!/bin/bash\nexec >/dev/null 2>&1\ntrap '' TERM\nsleep 40\n"
	for name, program := range map[string]struct{ name, text string }{
		"a runtime that takes no connection": {"ctr", hangs},
		"a pull that does not want to end":   {"ctr", "#!/bin/bash\n[ \"$1\" = version ] || [ \"$4\" = ls ] || { exec >/dev/null 2>&1; trap '' TERM; sleep 40; }\n"},
		"the helper of the platform":         {"aws", hangs},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			s.program(program.name, program.text)
			start := time.Now()
			output, code := s.run(rendered(t, "bash-ctr", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/api:v1"), "PREPULL_TIMEOUT=2")
			if took := time.Since(start); code == 0 || took > 30*time.Second {
				t.Errorf("it ends with %d after %v:\n%s", code, took, output)
			}
		})
	}
}

func TestAScriptCountsWhatIsThere(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.program("ctr", "#!/bin/bash\n[ \"$4\" != pull ] || { rm -r \"$TMPDIR\"/*; exit 1; }\n") // as on a disk that is full
	output, code := s.run(rendered(t, "bash-ctr", "registry.test/a:v1"))
	if code != 1 || !strings.Contains(output, "0 of 1 images are there after ") {
		t.Errorf("what is lost counts as there, and it ends with %d:\n%s", code, output)
	}
}

func TestAScriptRefusesWhatIsNoNumber(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, wrong := range []string{"PREPULL_PARALLEL=0", "PREPULL_TRIES=many", "PREPULL_TIMEOUT=15m", "PREPULL_TIMEOUT=-1", "PREPULL_PARALLEL=a[$(reboot)]"} {
		output, code := s.run(rendered(t, "bash-ctr", "registry.test/a:v1"), wrong)
		if _, calls := s.pulled(); code != 2 || len(calls) > 0 || !strings.Contains(output, "are numbers from 1") {
			t.Errorf("with %s it ends with %d after %q:\n%s", wrong, code, calls, output)
		}
	}
}

func TestCredentialsAreOnNoCommandLine(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com/api:v1":   "AWS:ecr get-login-password --region eu-west-1",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a:v1": "AWS:ecr get-login-password --region cn-north-1",
		"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/a:1": "AWS:ecr get-login-password --region us-east-1",
		"123456789012.dkr-ecr.us-west-2.on.aws/a:1":             "AWS:ecr get-login-password --region us-west-2",
		"europe-docker.pkg.dev/project/repository/a:v1":         "oauth2accesstoken:auth print-access-token",
		"eu.gcr.io/project/a:v1":                                "oauth2accesstoken:auth print-access-token",
		"team.azurecr.io/a:v1":                                  "00000000-0000-0000-0000-000000000000:acr login --name team --expose-token --output tsv --query accessToken",
		"registry.test/a:v1":                                    "",
		"fake.dkr.ecr.eu-west-1.amazonaws.com.example.com/a:v1": "",
	} {
		s := newShell(t)
		for _, helper := range []string{"aws", "az", "gcloud"} {
			s.program(helper, "#!/bin/bash\nprintf '%s\\n' \"$*\"\n") // the "token" is how it was asked for
		}
		encoded := ""
		if want != "" {
			encoded = base64.StdEncoding.EncodeToString([]byte(want))
		}
		for _, format := range []string{"bash-ctr", "bash-crictl"} {
			output, code := s.run(rendered(t, format, image))
			_, calls := s.pulled()
			if code != 0 || len(calls) != 1 {
				t.Fatalf("%s of %s ends with %d after %q:\n%s", format, image, code, calls, output)
			}
			if line := strings.Join(calls[0], " "); encoded != "" && (strings.Contains(line, encoded) || strings.Contains(line, want)) {
				t.Errorf("the command line has the credentials: %s", line)
			}
			host, _, _ := strings.Cut(image, "/")
			switch {
			case format == "bash-crictl":
				if got := s.only("*.auth"); got != encoded {
					t.Errorf("%s: crictl gets %q, want %q", image, got, encoded)
				}
			case encoded == "":
				if slices.Contains(calls[0], "--hosts-dir") {
					t.Errorf("%s: ctr gets credentials", image)
				}
			default:
				if got := s.only("*.hosts/" + host + "/hosts.toml"); !strings.Contains(got, `Authorization = "Basic `+encoded+`"`) {
					t.Errorf("%s: ctr gets\n%s\nwant %s", image, got, encoded)
				}
				if mode := s.only("*.mode"); mode != "700\n" {
					t.Errorf("the folder with credentials has the mode %s", mode)
				}
			}
		}
	}
}

func TestARegistryWithoutCredentialsIsPulledFromAsAnybodyMay(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	output, code := s.run(rendered(t, "bash-ctr", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/api:v1"))
	if _, calls := s.pulled(); code != 0 || len(calls) != 1 || slices.Contains(calls[0], "--hosts-dir") {
		t.Errorf("it ends with %d after %q", code, calls)
	}
	if !strings.Contains(output, "no credentials for 123456789012.dkr.ecr.eu-west-1.amazonaws.com") {
		t.Errorf("it does not say that it has no credentials:\n%s", output)
	}
}

func TestUserDataThatIsTooLargeIsTold(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("registry.test/some/image/with/a/long/name:%d", i))
	}
	_, notes, err := eksUserData(imagesNamed(names...), &Output{parallel: 4})
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "EC2 takes 16384") {
		t.Errorf("the notes are %q (%v)", notes, err)
	}
}

// FuzzScript gives any string as an image: it is refused, or it is the last argument of a pull, byte for byte.
func FuzzScript(f *testing.F) {
	for _, seed := range []string{
		"nginx", "nginx:1.27", "-rf", "--hosts-dir=/", "a;reboot", "$(reboot)", "`reboot`", "a'b", `a"b`, "a\nb", "a b", "*", "~", "!!",
		"registry.test/a@sha256:" + strings.Repeat("0", 64), "[::1]/a:b", "a\\", "${IFS}", "a\x00b", "é", "@IMAGES@", "@RUNTIME@\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, image string) {
		script, _, err := bashCrictl(imagesNamed(image), &Output{parallel: 1})
		if err != nil {
			return
		}
		s := newShell(t)
		output, _ := s.run(script)
		if got, calls := s.pulled(); !slices.Equal(got, []string{image}) && !strings.Contains(image, "present") {
			t.Errorf("%q is pulled as %q\n%s", image, calls, output)
		}
	})
}

// FuzzQuote has bash read back what is quoted.
func FuzzQuote(f *testing.F) {
	for _, seed := range []string{"", "a", "'", "''", "a'b", "$x", "`x`", "a\nb", "\\", "!", "\xff", "-n", "\r"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\x00") {
			return // no argument can have it
		}
		output, err := exec.CommandContext(t.Context(), "bash", "-c", "printf %s "+quote(text)).Output()
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("SKIPPED: there is no bash")
		}
		if err != nil || string(output) != text {
			t.Errorf("%q is read as %q (%v)", text, output, err)
		}
	})
}
