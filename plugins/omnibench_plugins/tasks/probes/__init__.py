"""Probes: what frozen features say by themselves."""
