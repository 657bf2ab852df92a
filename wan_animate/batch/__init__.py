"""Many clips, and a clip's shots, on many cards: ``wan-animate batch``."""
