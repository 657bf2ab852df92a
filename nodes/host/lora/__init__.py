"""LoRA files on the host's MODEL, merged or unmerged."""
