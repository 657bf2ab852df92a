"""People in the picture: boxes, appearance, tracks, and who is followed."""
