"""The built-in datasets."""

from __future__ import annotations

from omnibench.cards import DatasetPrefix, DatasetSpec
from omnibench.hookspecs import hookimpl
from omnibench_plugins.datasets import medmnist, medsegbench, mni152, radimagenet, rocov2
from omnibench_plugins.datasets.folder import card


@hookimpl
def omnibench_datasets() -> list[DatasetSpec | DatasetPrefix]:
    """Return every built-in dataset."""
    return [
        *mni152.cards(),
        *medmnist.cards(),
        *medsegbench.cards(),
        *rocov2.cards(),
        *radimagenet.cards(),
        card.prefix(),
    ]
