"""The built-in encoders."""

from __future__ import annotations
