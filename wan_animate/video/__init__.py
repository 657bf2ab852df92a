"""Video files to frames and back."""
