"""How a clip was made, kept in its mp4, and making it again."""
