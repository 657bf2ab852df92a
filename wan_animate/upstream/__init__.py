"""What upstream (Wan-Video/Wan2.2) leaves on disk: its intermediate files and the layout of its weights."""
