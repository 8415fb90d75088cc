"""The built-in tasks."""

from __future__ import annotations
