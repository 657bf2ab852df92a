"""LoRA files on the host's MODEL: merged into the weights, or beside them."""
