"""Who is in the picture, and who is followed."""
