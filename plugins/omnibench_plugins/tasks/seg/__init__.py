"""The task `seg`: one class a pixel."""
