"""People in the picture: boxes, appearance, tracks through the clip, and the person who is followed."""
