"""What weight files hold: told from the names, shapes and types in their headers, before any weight is read."""
