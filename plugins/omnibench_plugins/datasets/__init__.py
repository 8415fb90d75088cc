"""The built-in datasets."""

from __future__ import annotations
