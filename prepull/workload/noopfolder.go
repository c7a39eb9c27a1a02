package workload

import (
	"encoding/hex"
	"regexp"
)

// NoopFolder is where noop is in containers of ours that run it in images of others: a path that no image can know. Over one that
// it knows, an image can put a program of its own, by a VOLUME that is a symbolic link: containerd compares the text of the
// paths (containerMounts in internal/cri/server), and runc follows the link.
func NoopFolder(random [16]byte) string {
	return "/prepull-" + hex.EncodeToString(random[:])
}

var (
	noopFolder = regexp.MustCompile(`^/prepull-[0-9a-f]{32}$`)

	// quotedFolder may have been cut short.
	quotedFolder = regexp.MustCompile(`/prepull-[0-9a-f]{8,}`)
)

// IsNoopFolder tells whether a path is one of NoopFolder.
func IsNoopFolder(path string) bool { return noopFolder.MatchString(path) }

// HideNoopFolder is a text of a runtime from which nobody learns a NoopFolder.
func HideNoopFolder(text string) string { return quotedFolder.ReplaceAllString(text, "/prepull") }
