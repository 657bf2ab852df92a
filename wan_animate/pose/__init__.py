"""People in the driving video: found, tracked, drawn."""
