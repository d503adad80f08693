"""All stacks of the mesh at once: which there are, in which order they go, and what happened in each."""
