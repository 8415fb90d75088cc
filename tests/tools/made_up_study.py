"""A published study that nobody printed, with an encoder and a dataset that can be planned."""

from __future__ import annotations

from omnibench.cards import DataAccess, DatasetSpec, EncoderSpec, PublishedValue
from omnibench.errors import SetupError
from omnibench.hookspecs import hookimpl
from omnibench.interfaces import Dataset
from omnibench.registry import Registry


def printed(value: float, encoder: str = "vit-a", **fields) -> PublishedValue:
    return PublishedValue(
        **{
            "source": "Paper, Table 3",
            "encoder": encoder,
            "task": "cls",
            "dataset": "breastmnist",
            "metric": "accuracy",
            "printed_metric": "accuracy",
            "value": value,
            "sd": 0.1,
            "tuning": "full",
            "study": "paper-2026",
            "table": 3,
            "runs": (5, 3),
            **fields,
        }
    )


def absent(access: DataAccess) -> Dataset:
    raise SetupError("the data are not here; download them")


class StudyPlugin:
    """Offers a made-up study, with an encoder and a dataset that can be planned."""

    __name__ = "study"

    def __init__(self, *values: PublishedValue) -> None:
        self.values = values

    @hookimpl
    def omnibench_published(self) -> tuple[PublishedValue, ...]:
        return self.values

    @hookimpl
    def omnibench_encoders(self) -> list[EncoderSpec]:
        shape = {"embed_dim": 384, "patch_size": 16, "depth": 12}
        return [EncoderSpec(name=name, build=print, **shape) for name in ("vit-a", "vit-b")]

    @hookimpl
    def omnibench_datasets(self) -> list[DatasetSpec]:
        card = DatasetSpec(
            name="breastmnist",
            kind="labels",
            open=absent,
            classes=("malignant", "benign"),
            split_sizes=(546, 78, 156),
            commercial=False,
            licence="CC BY-NC 4.0",
        )
        return [card]


def registry(*values: PublishedValue) -> Registry:
    import omnibench_plugins.tasks

    return Registry.of(omnibench_plugins.tasks, StudyPlugin(*values))
