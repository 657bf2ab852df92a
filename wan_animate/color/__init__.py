"""What keeps colour: how far two colours are apart, transfer from picture to picture, drift from segment to segment."""
