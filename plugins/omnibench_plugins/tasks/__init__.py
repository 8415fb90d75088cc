"""The built-in tasks."""

from __future__ import annotations

from collections.abc import Iterable

import omnibench
from omnibench.interfaces import Task
from omnibench_plugins.tasks.cls.task import Classification
from omnibench_plugins.tasks.probes.task import Knn, Linear


@omnibench.hookimpl
def omnibench_tasks() -> Iterable[Task]:
    """Offer classification and the two probes."""
    return [Classification(), Knn(), Linear()]
