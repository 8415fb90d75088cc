"""Frozen outputs computed once: an encoder's features, decoded images, resized masks."""
