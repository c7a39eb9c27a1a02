package webhook

type unpinned struct{ group, kind, namespace, name, container, image, why string }
