"""Character masks from SAM 2 or the pose, and the background."""
