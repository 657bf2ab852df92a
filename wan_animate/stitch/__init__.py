"""The window around the character: where it is in every frame, cut out of the frames, and put back into them."""
