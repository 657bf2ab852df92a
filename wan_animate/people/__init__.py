"""Who is in the picture, followed from frame to frame, and whom of them is meant."""
