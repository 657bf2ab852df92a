"""Adapters of the engine's two ports that need no host."""
