"""The built-in tasks."""

from __future__ import annotations

from collections.abc import Iterable

import omnibench
from omnibench.interfaces import Task
from omnibench_plugins.tasks.caption.task import Captioning
from omnibench_plugins.tasks.cls.task import Classification
from omnibench_plugins.tasks.probes.task import Knn, Linear
from omnibench_plugins.tasks.seg.task import Segmentation


@omnibench.hookimpl
def omnibench_tasks() -> Iterable[Task]:
    """Offer captioning, classification, the two probes and segmentation."""
    return [Captioning(), Classification(), Knn(), Linear(), Segmentation()]
