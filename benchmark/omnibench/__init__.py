"""The face that plugins import: cards, the hook marker and errors; never imports torch."""

from omnibench.cards import (
    DataAccess,
    DatasetPrefix,
    DatasetSpec,
    DatasetVariant,
    EncoderPrefix,
    EncoderSpec,
    HubFile,
    PublishedValue,
)
from omnibench.errors import (
    IntegrityError,
    OmnibenchError,
    PluginError,
    RunFailed,
    SetupError,
    UsageError,
    WeightsMissing,
)
from omnibench.hookspecs import hookimpl
from omnibench.interfaces import Dataset, Metric, Outcome, RunContext, Split, Task

__all__ = [
    "DataAccess",
    "Dataset",
    "DatasetPrefix",
    "DatasetSpec",
    "DatasetVariant",
    "EncoderPrefix",
    "EncoderSpec",
    "HubFile",
    "IntegrityError",
    "Metric",
    "OmnibenchError",
    "Outcome",
    "PluginError",
    "PublishedValue",
    "RunContext",
    "RunFailed",
    "SetupError",
    "Split",
    "Task",
    "UsageError",
    "WeightsMissing",
    "hookimpl",
]
