"""Metrics with identity, computed from stored predictions with numpy."""
