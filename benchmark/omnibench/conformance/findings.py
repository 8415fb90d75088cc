"""What a check found, and how a list of checks becomes a list of findings."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from omnibench.errors import OmnibenchError, ran_out_of_memory

S = TypeVar("S")
Checks = Mapping[str, Callable[[S], str | None]]


class NotApplicable(Exception):
    """Raised by a check that does not concern its subject, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check of one subject.

    Args:
        subject: What was checked, `encoder omnirad-nano`.
        check: What must hold, as a sentence.
        status: `SKIP` where it does not apply.
        message: What is wrong and what to do; of a skipped check, why.
    """

    subject: str
    check: str
    status: Literal["PASS", "FAIL", "SKIP"]
    message: str = ""

    def __str__(self) -> str:
        said = f": {self.message}" if self.message else ""
        return f"{self.status}  {self.subject}  {self.check}{said}"


def conclude(name: str, subject: S, checks: Checks[S]) -> Iterator[Finding]:
    """Apply checks in order; whatever one raises is its finding, and the others go on.

    Args:
        name: The subject in words.
        subject: What every check is given.
        checks: By sentence; each returns what is wrong, or None.
    """
    failed: dict[str, str] = {}
    for check, apply in checks.items():
        status, message = _outcome(apply, subject)
        if status == "FAIL" and message in failed:  # one fault often stops several checks
            status, message = "SKIP", f"fails as {failed[message]!r} does"
        elif status == "FAIL":
            failed[message] = check
        yield Finding(subject=name, check=check, status=status, message=message)


def _outcome(
    apply: Callable[[S], str | None], subject: S
) -> tuple[Literal["PASS", "FAIL", "SKIP"], str]:
    try:
        fault = apply(subject)
    except NotApplicable as reason:
        return "SKIP", str(reason)
    except OmnibenchError as error:
        return "FAIL", str(error)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"raises {type(error).__name__}: {error} ({place.filename}, line {place.lineno})"
        return "FAIL", told
    return ("FAIL", fault) if fault else ("PASS", "")


def assert_conforms(findings: Iterable[Finding]) -> None:
    """Raise `AssertionError` naming every failed check; for tests.

    Raises:
        AssertionError: Also where nothing was checked at all.
    """
    found = list(findings)
    failed = [str(finding) for finding in found if finding.status == "FAIL"]
    if failed or not any(finding.status == "PASS" for finding in found):
        raise AssertionError("\n".join(failed) or "nothing was checked")
