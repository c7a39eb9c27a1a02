package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const (
	tutorial      = "docs/tutorial.md"
	dashboardFile = "deploy/dashboards/kube-prepull.json"
	screens       = "docs/screenshots"
)

// terminals are the pictures of terminals, and the commands of the tutorial that they show.
var terminals = map[string]string{
	"failing.svg": "kubectl prepull explain bakery/bred",
}

// takeScreens makes the pictures of what kube-prepull shows, by their names; root is that of the checkout.
func takeScreens(root string) (map[string]string, error) {
	taken := map[string]string{}
	page, err := os.ReadFile(filepath.Join(root, tutorial))
	if err != nil {
		return nil, err
	}
	for name, command := range terminals {
		lines, err := exampleOf(string(page), command)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", tutorial, err)
		}
		taken[name] = terminal(tutorial, lines)
	}
	board, err := os.ReadFile(filepath.Join(root, dashboardFile))
	if err != nil {
		return nil, err
	}
	if taken["dashboard.svg"], err = drawDashboard(dashboardFile, board); err != nil {
		return nil, fmt.Errorf("drawing %s: %w", dashboardFile, err)
	}
	return taken, nil
}

// writeScreens into docs/screenshots.
func writeScreens() error {
	taken, err := takeScreens(".")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(screens, 0o755); err != nil {
		return err
	}
	for name, svg := range taken {
		if err := os.WriteFile(filepath.Join(screens, name), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	return nil
}
