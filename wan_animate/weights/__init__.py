"""Contents of weight files, told from the names, shapes and dtypes in their headers."""
