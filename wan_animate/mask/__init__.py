"""Character masks: from SAM 2 or the pose, shaped, and the background."""
