"""The pose track: cleaned, drawn, exchanged with other formats."""
