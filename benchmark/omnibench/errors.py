"""Every error that a user can cause or mend.

OmnibenchError                exit 1: base; the command line prints it without a traceback
├── RunFailed                 exit 1: a run could not finish (loss not finite, out of memory)
├── UsageError                exit 2: unknown name, task and dataset that do not fit, bad --set
├── PluginError               exit 3: a plugin could not be loaded or broke its contract
├── IntegrityError            exit 4: damaged file, wrong digest, label out of range, bad record
└── SetupError                exit 5: disk, permissions, network, missing weights or packages
    └── WeightsMissing        exit 5: an encoder's weights are not on this machine

Messages say first what is wrong and then what to do, with a command, a path or a known name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

INTERRUPTED = 130


class OmnibenchError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_code = 1


class RunFailed(OmnibenchError):
    """A run could not finish; finished runs are untouched.

    Args:
        message: What happened, where, and what to do.
        kind: A short machine-readable reason such as `nan_loss` or `oom`.
        epoch: In which epoch, counted from 1; None where there is none.
    """

    def __init__(self, message: str, kind: str = "error", epoch: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.epoch = epoch


class UsageError(OmnibenchError):
    """The command cannot mean what it says."""

    exit_code = 2


class PluginError(OmnibenchError):
    """A plugin could not be loaded, or broke its contract."""

    exit_code = 3


class IntegrityError(OmnibenchError):
    """A file does not hold what it should."""

    exit_code = 4


class SetupError(OmnibenchError):
    """Something this machine lacks: space, permission, network, a package."""

    exit_code = 5


class WeightsMissing(SetupError):
    """An encoder's weights are not on this machine and could not be fetched."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory of this machine or of its accelerator ran out."""
    import torch

    # The CPU's allocator raises a bare RuntimeError.
    starved = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return starved or isinstance(error, torch.OutOfMemoryError | MemoryError)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean …?` for the known names nearest in any case, or an empty string."""
    spelt = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), spelt, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(spelt[each] for each in near)}?" if near else ""
