"""Inside ComfyUI: the host, and the nodes. Importing this loads nothing of ComfyUI or torch."""
