// Package list is the commands kubectl prepull images and nodes: the inventory from either side.
package list

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

// Images is kubectl prepull images.
func Images(env *cli.Environment) *cobra.Command {
	var output cli.Output
	c := &cobra.Command{
		Use:     "images",
		Aliases: []string{"image"},
		Short:   "List the images that are known, on how many nodes they are, and why not on all",
		Example: `  kubectl prepull images
  kubectl prepull images -o wide
  kubectl prepull images -o custom-columns=IMAGE:.image,READY:.nodes.ready
  kubectl prepull images -o json | jq -r '.images[] | select(.state == "Failing") | .image'`,
		Args:              cli.NoArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return listImages(c.Context(), env, &output)
		},
	}
	output.AddListFlag(c, "images", "prepullimage.kube-prepull.io")
	return c
}

// imageList is what images -o json prints.
type imageList struct {
	Images []inventory.Image `json:"images"`
}

func listImages(ctx context.Context, env *cli.Environment, output *cli.Output) error {
	c, err := env.Installed()
	if err != nil {
		return err
	}
	objects, err := inventory.ReadPrepullImages(ctx, c)
	if err != nil {
		return err
	}
	images := inventory.Images(objects)
	return output.Print(env.Out, imageList{images}, func() error {
		if len(images) == 0 {
			_, err := fmt.Fprintln(env.Out, "No image is known. Opt in a namespace: kubectl label namespace NAME kube-prepull.io/enabled=true")
			return err
		}
		return imageTable(images, output.Wide(), time.Now()).Write(env.Out, env.Colours())
	})
}

func imageTable(images []inventory.Image, wide bool, now time.Time) *cli.Table {
	columns := []string{"IMAGE", "STATE", "NODES", "SIZE", "USERS"}
	if wide {
		columns = append(columns, "PULL", "SEEN", "NEXT TRY", "PREPULLIMAGE")
	}
	table := cli.NewTable(columns...)
	for i := range images {
		image := &images[i]
		nodes := ""
		if image.State != inventory.ImageSkipped {
			nodes = fmt.Sprintf("%d/%d", image.Nodes.Ready, image.Nodes.Desired)
		}
		row := []any{image.Image, imageState(image), nodes, v1alpha1.HumanSize(image.Bytes()), users(image)}
		if wide {
			row = append(row, pullTime(image), seen(image, now), nextTry(image, now), image.Name)
		}
		table.Row(row...)
	}
	return table
}

// imageState is the state with its reason, where it has one that says more.
func imageState(i *inventory.Image) cli.Text {
	state := string(i.State)
	if i.State == inventory.ImageFailing || i.State == inventory.ImageSkipped || i.Reason != "" && i.Reason != state {
		state += ": " + i.Reason
	}
	switch i.State {
	case inventory.ImageReady:
		return cli.Good(state)
	case inventory.ImageFailing:
		return cli.Bad(state)
	case inventory.ImagePulling, inventory.ImagePending:
		return cli.Busy(state)
	}
	return cli.Plain(state)
}

// users counts the workloads; a declared image needs none.
func users(i *inventory.Image) string {
	if i.Declared {
		return fmt.Sprintf("%d, declared", i.UserCount)
	}
	return fmt.Sprint(i.UserCount)
}

func pullTime(i *inventory.Image) string {
	if i.LastPullSeconds == 0 {
		return ""
	}
	return cli.Seconds(float64(i.LastPullSeconds))
}

func seen(i *inventory.Image, now time.Time) string {
	switch {
	case i.UserCount > 0:
		return "in use"
	case i.LastSeenTime == nil:
		return ""
	}
	return cli.Ago(*i.LastSeenTime, now)
}

func nextTry(i *inventory.Image, now time.Time) string {
	switch {
	case i.RetryTime == nil:
		return ""
	case !i.RetryTime.After(now):
		return "due"
	}
	return "in " + cli.Seconds(i.RetryTime.Sub(now).Seconds())
}
