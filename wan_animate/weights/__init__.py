"""Contents of weight files, from their headers."""
