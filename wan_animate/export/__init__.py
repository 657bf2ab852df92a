"""Finished clips as files: codecs, movies, pictures, animations, comparisons."""
