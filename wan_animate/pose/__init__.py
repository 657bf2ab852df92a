"""The pose track: cleaned, smoothed, drawn, exchanged with other formats."""
