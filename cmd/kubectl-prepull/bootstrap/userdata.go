package bootstrap

import (
	"fmt"
	"strings"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// maxUserData is how many bytes of user data EC2 takes, before they are encoded.
const maxUserData = 16 << 10

// userData is a multi-part document, as launch templates of EKS node groups take it.
const userData = `MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="==PREPULL=="

--==PREPULL==
Content-Type: text/x-shellscript; charset="us-ascii"

%s
--==PREPULL==--
`

// eksUserData is one part of the user data of EKS nodes: on Amazon Linux 2023 the kubelet starts when the script has ended.
func eksUserData(images []workload.Image, o *Output) (string, []string, error) {
	script, notes, err := bashCtr(images, o)
	if err != nil {
		return "", nil, err
	}
	text := fmt.Sprintf(userData, script)
	if len(text) > maxUserData {
		notes = append(notes, fmt.Sprintf("the user data has %d bytes, and EC2 takes %d: pull fewer images, or bake them into an AMI with bash-ctr", len(text), maxUserData))
	}
	return text, notes, nil
}

// cloudConfig starts a unit before the kubelet and does not wait for it.
const cloudConfig = `#cloud-config
write_files:
  - path: /var/lib/prepull/pull-images
    permissions: "0755"
    content: |
%s  - path: /etc/systemd/system/prepull.service
    permissions: "0644"
    content: |
      [Unit]
      Description=Pull container images before the kubelet needs them
      Wants=network-online.target
      After=network-online.target containerd.service
      Before=kubelet.service

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/bin/bash /var/lib/prepull/pull-images
      TimeoutStartSec=%d
runcmd:
  - [systemctl, daemon-reload]
  - [systemctl, start, --no-block, prepull.service]
`

// cloudInit is user data for nodes that cloud-init sets up: it does not hold up the boot, but a kubelet that is started
// later waits for the images.
func cloudInit(images []workload.Image, o *Output) (string, []string, error) {
	script, notes, err := bashCtr(images, o)
	if err != nil {
		return "", nil, err
	}
	var indented strings.Builder
	for line := range strings.Lines(script) {
		if line != "\n" {
			indented.WriteString("      ")
		}
		indented.WriteString(line)
	}
	return fmt.Sprintf(cloudConfig, indented.String(), timeLimit+60), notes, nil
}
