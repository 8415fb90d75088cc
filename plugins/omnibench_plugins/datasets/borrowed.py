"""What `omnirad` reads for datasets of the benchmark, with the benchmark's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omnibench.errors import IntegrityError, SetupError


@contextmanager
def errors_translated() -> Iterator[None]:
    """Raise what `omnirad` raises as the benchmark's own errors."""
    from omnirad.errors import DataError
    from omnirad.errors import SetupError as NotSetUp

    try:
        yield
    except NotSetUp as error:
        raise SetupError(str(error)) from None
    except DataError as error:
        raise IntegrityError(str(error)) from None
