"""Where the character is in every frame, and what is left when it is cut out."""
