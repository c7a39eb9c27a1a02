package measure

import "time"

func writePage(file string, p any) error             { return nil }
func experimentPage(x *Experiment, at time.Time) any { return nil }
func historyPage(h *History, at time.Time) any       { return nil }
