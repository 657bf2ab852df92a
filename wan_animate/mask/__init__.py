"""Character masks: SAM 2 or the pose's outline, shaped, and the background without the character."""
