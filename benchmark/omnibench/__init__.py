"""The face that plugins import: cards, the hook marker and errors; never imports torch."""

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
from omnibench.interfaces import (
    DataAccess,
    Dataset,
    DatasetPrefix,
    DatasetSpec,
    EncoderPrefix,
    EncoderSpec,
    HubFile,
    Metric,
    Outcome,
    PublishedValue,
    RunContext,
    Split,
    Task,
)

__all__ = [
    "DataAccess",
    "Dataset",
    "DatasetPrefix",
    "DatasetSpec",
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
