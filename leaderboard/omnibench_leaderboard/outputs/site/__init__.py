"""A static site from a board: no script needed to read it, no request leaves it."""
