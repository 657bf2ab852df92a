"""Colour: matched between clips, and kept over the segments of one."""
