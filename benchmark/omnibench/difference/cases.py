"""Which cases two predictions files answer differently, by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omnibench.records import Arrays

if TYPE_CHECKING:
    import numpy as np

SUFFIX = "_id"
NUMBERS = "fiub"  # numpy's letters


@dataclass(frozen=True, kw_only=True)
class CaseDifference:
    """How the answers of one split differ.

    Args:
        split: Name of the split.
        shared: Number of cases that both have.
        ids: Those answered differently, ascending.
        only_a: Number of cases that B lacks.
        only_b: Number of cases that A lacks.
        largest: The largest difference of a number, by array; exact, no tolerance.
        not_comparable: Arrays that only one has, or of another shape.
    """

    split: str
    shared: int
    ids: tuple[int, ...]
    only_a: int
    only_b: int
    largest: dict[str, float]
    not_comparable: tuple[str, ...]


def differing_cases(a: Arrays, b: Arrays) -> list[CaseDifference]:
    """Compare the splits whose ids both files hold (`<split>_id`)."""
    splits = [n.removesuffix(SUFFIX) for n in a if n.endswith(SUFFIX) and n in b]
    return [_compare(split, a, b) for split in splits]


def _compare(split: str, a: Arrays, b: Arrays) -> CaseDifference:
    import numpy as np

    ids_a, ids_b = a[split + SUFFIX].reshape(-1), b[split + SUFFIX].reshape(-1)
    shared, rows_a, rows_b = np.intersect1d(ids_a, ids_b, return_indices=True)
    changed = np.zeros(len(shared), dtype=bool)
    largest: dict[str, float] = {}
    odd = []
    for name in _of_cases(split, a, b, len(ids_a), len(ids_b)):
        left, right = a.get(name), b.get(name)
        if left is None or right is None or not _comparable(left, right):
            odd.append(name)
            continue
        x, y = left[rows_a], right[rows_b]
        unequal = (x != y).reshape(len(shared), -1).any(axis=1)
        changed |= unequal
        if unequal.any() and x.dtype.kind in NUMBERS:
            largest[name] = float(np.abs(x.astype(np.float64) - y.astype(np.float64)).max())
    return CaseDifference(
        split=split,
        shared=len(shared),
        ids=tuple(int(i) for i in shared[changed]),
        only_a=len(np.setdiff1d(ids_a, ids_b)),
        only_b=len(np.setdiff1d(ids_b, ids_a)),
        largest=largest,
        not_comparable=tuple(odd),
    )


def _of_cases(split: str, a: Arrays, b: Arrays, count_a: int, count_b: int) -> Sequence[str]:
    """Return names of the split's arrays that have a row for each case, in either file."""

    def has_rows(array: np.ndarray[Any, Any] | None, count: int) -> bool:
        return array is not None and array.ndim > 0 and len(array) == count

    names = dict.fromkeys(n for n in (*a, *b) if n.startswith(f"{split}_") and n != split + SUFFIX)
    return [n for n in names if has_rows(a.get(n), count_a) or has_rows(b.get(n), count_b)]


def _comparable(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    numbers = left.dtype.kind in NUMBERS, right.dtype.kind in NUMBERS
    return left.shape[1:] == right.shape[1:] and numbers[0] == numbers[1]
