"""Figures of a board as SVG: deterministic, in text's own colour, with a text alternative."""
