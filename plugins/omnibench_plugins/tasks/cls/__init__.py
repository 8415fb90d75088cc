"""Supervised classification: full, head-only and LoRA tuning."""
