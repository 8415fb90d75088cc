"""Writes a new plugin from the templates beside this file."""

from __future__ import annotations

import importlib.util
import keyword
import shutil
import string
import tempfile
from importlib.resources import files
from pathlib import Path

from omnibench.cards import NAME
from omnibench.errors import SetupError, UsageError

TEMPLATES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "plugin.py": "{module}/__init__.py",
    "encoder.py": "{module}/encoder.py",
    "test_conformance.py": "tests/test_conformance.py",
}

TAKEN = ("tests",)  # folders beside which the package would lie


def write(name: str, parent: Path) -> Path:
    """Write a plugin's folder whole, or not at all, and return it.

    Args:
        name: Of plugin and encoder.
        parent: Folder that the plugin's folder is made in.

    Raises:
        UsageError: If the name cannot be an encoder's and a package's, or is taken.
        SetupError: If it cannot be written.
    """
    module = name.replace("-", "_").replace(".", "_")
    if not NAME.fullmatch(name) or not module.isidentifier() or keyword.iskeyword(module):
        raise UsageError(
            f"{name!r} cannot name a plugin: use lower-case letters, digits and ._-, beginning with "
            "a letter, at most 64"
        )
    if not name[-1].isalnum():
        raise UsageError(f"{name!r} cannot name a plugin: pip wants a letter or digit at the end")
    if module in TAKEN or importlib.util.find_spec(module) is not None:
        raise UsageError(
            f"{name!r} cannot name a plugin: its package would hide {module!r}, which is there "
            "already; choose another name"
        )
    target = parent / name
    if target.exists():
        raise UsageError(f"{target} exists; choose another name or --into DIR")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".new-") as scratch:
            made = Path(scratch, name)
            for template, place in TEMPLATES.items():
                path = made / place.format(module=module)
                path.parent.mkdir(parents=True, exist_ok=True)
                text = files(__package__).joinpath(f"{template}.txt").read_text(encoding="utf-8")
                path.write_text(string.Template(text).substitute(name=name, module=module))
            shutil.move(made, target)
    except OSError as error:
        raise SetupError(f"{target} cannot be written ({error.strerror or error})") from None
    return target
