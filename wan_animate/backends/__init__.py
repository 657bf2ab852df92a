"""Adapters that run the engine's two ports without a host."""
