"""Every error of `omnirad` that a user can cause or mend.

OmniradError                          exit 1: base
├── RunFailed         (RuntimeError)  exit 1: a run could not finish (loss not finite, collapse)
├── UsageError        (ValueError)    exit 2: a recipe, option or size that cannot be meant
├── DataError         (ValueError)    exit 4: images or tables that are not what they should be
├── IntegrityError    (ValueError)    exit 4: damaged or foreign weights, checkpoints, shards
└── SetupError        (RuntimeError)  exit 5: disk, network, missing weights or packages

Messages say first what is wrong and then what to do.
"""


class OmniradError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_code = 1


class RunFailed(OmniradError, RuntimeError):
    """A run could not finish; what it saved before is untouched."""


class UsageError(OmniradError, ValueError):
    """The call or command cannot mean what it says."""

    exit_code = 2


class DataError(OmniradError, ValueError):
    """Images or tables are not what they should be."""

    exit_code = 4


class IntegrityError(OmniradError, ValueError):
    """A file does not hold what it should."""

    exit_code = 4


class SetupError(OmniradError, RuntimeError):
    """Something this machine lacks: space, permission, network, weights, a package."""

    exit_code = 5
