"""The driver's motion on the character's bones."""
