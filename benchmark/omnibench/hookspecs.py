"""The five hooks of a plugin: all gather cards, none is first-come-first-served.

A plugin is a module named by an entry point of the group `omnibench` (or a file given by
`--plugin`) with functions marked `@omnibench.hookimpl`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from omnibench.cards import (
    DatasetPrefix,
    DatasetSpec,
    DatasetVariant,
    EncoderPrefix,
    EncoderSpec,
    PublishedValue,
)
from omnibench.interfaces import Task

if TYPE_CHECKING:
    import click

hookspec = pluggy.HookspecMarker("omnibench")
hookimpl = pluggy.HookimplMarker("omnibench")


@hookspec
def omnibench_encoders() -> Iterable[EncoderSpec | EncoderPrefix]:
    """Return encoder cards; called once when the registry is made, must not import torch."""
    return ()


@hookspec
def omnibench_tasks() -> Iterable[Task]:
    """Return tasks; called once when the registry is made, must not import torch."""
    return ()


@hookspec
def omnibench_datasets() -> Iterable[DatasetSpec | DatasetPrefix | DatasetVariant]:
    """Return dataset cards; called once when the registry is made, must not touch the disk."""
    return ()


@hookspec
def omnibench_published() -> Iterable[PublishedValue]:
    """Return published numbers; called when a table is shown beside them."""
    return ()


@hookspec
def omnibench_commands(cli: click.Group) -> None:
    """Add click commands to `cli`; called once, before the command line is parsed."""
