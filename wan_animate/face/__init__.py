"""Face crops that do not jump."""
