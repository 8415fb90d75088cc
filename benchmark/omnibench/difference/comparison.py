"""Two records compared: are they the same run, what differs, and what can explain the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from omnibench.difference.cases import CaseDifference, differing_cases
from omnibench.difference.chosen import Chosen
from omnibench.difference.fields import ORDER, Row, differing

Relation = Literal["same record", "replicates", "other runs"]

# Environment fields that change rounding, not what is computed.
ROUNDING = ("platform", "gpu", "cuda", "cudnn", "threads", "deterministic")
UNEXPLAINED = (
    "nothing that the records state explains it: kernels without a deterministic form, memory or "
    "hardware faults, or files changed by hand remain"
)
NAMED = 6  # fields that a sentence names


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two records differ.

    Args:
        relation: One record; the same run twice (equal identity); or runs that were asked
            differently.
        equal: Metrics and predictions are equal to the last bit.
        told: What that means, one sentence.
        reasons: Which differences can explain other numbers, the strongest first; if none does,
            that is said. Empty if the numbers are equal.
        rows: Every differing field.
        cases: Cases answered differently, where both predictions are at hand and differ.
        notes: What could not be compared.
    """

    relation: Relation
    equal: bool
    told: str
    reasons: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    cases: tuple[CaseDifference, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data, fields by group."""
        groups = {
            group: [
                {"field": row.name, "a": row.a, "b": row.b, "difference": row.difference}
                for row in self.rows
                if row.group == group
            ]
            for group in ORDER
        }
        return {
            "relation": self.relation,
            "equal": self.equal,
            "told": self.told,
            "reasons": list(self.reasons),
            "groups": {name: rows for name, rows in groups.items() if rows},
            "cases": [asdict(case) for case in self.cases],
            "notes": list(self.notes),
        }


def compare(a: Chosen, b: Chosen, *, with_cases: bool = True) -> Comparison:
    """Compare two records.

    Args:
        a: One.
        b: The other.
        with_cases: Also read predictions that differ.

    Raises:
        IntegrityError: If predictions are not those that their record describes.
    """
    rows = differing(a.record, b.record)
    equal = not _numbers(rows)
    relation = _relation(a, b)
    cases: Sequence[CaseDifference] = ()
    notes = [
        f"{side}: {chosen.others} further records of this run were passed over"
        for side, chosen in (("A", a), ("B", b))
        if chosen.others
    ]
    if with_cases and any(row.path[:2] == ("predictions", "sha256") for row in rows):
        left, right = a.predictions(), b.predictions()
        if left is None or right is None:
            notes.append("cases were not compared: predictions are not beside both records")
        else:
            cases = differing_cases(left, right)
    return Comparison(
        relation=relation,
        equal=equal,
        told=_told(relation, equal, a, b),
        reasons=() if equal else tuple(_reasons(rows)),
        rows=tuple(rows),
        cases=tuple(cases),
        notes=tuple(notes),
    )


def _relation(a: Chosen, b: Chosen) -> Relation:
    if a.record.record_sha256 == b.record.record_sha256:
        return "same record"
    return "replicates" if a.record.run_id == b.record.run_id else "other runs"


def _numbers(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that are found numbers, not how they were made."""
    return [row for row in rows if row.group in ("metrics", "predictions", "outcome")]


def _told(relation: Relation, equal: bool, a: Chosen, b: Chosen) -> str:
    if relation == "same record":
        return "A and B are the same record."
    states = {a.record.status, b.record.status}
    outcome = "equal metrics and predictions" if equal else "other numbers"
    if "complete" not in states:
        outcome = "no numbers: neither is complete"
    elif len(states) > 1:
        outcome = f"one result: A is {a.record.status}, B is {b.record.status}"
    if relation == "replicates":
        prefix = "" if equal or len(states) > 1 else "REPLICATES DIFFER: "
        return f"{prefix}A and B are the same run, made twice, with {outcome}."
    return f"A and B are other runs, with {outcome}."


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Say which differences can explain other numbers, the strongest first."""

    def under(*paths: tuple[str, ...]) -> list[str]:
        return [row.name for row in rows if any(row.path[: len(p)] == p for p in paths)]

    # The recipe's digest says less than its fields, which are listed too.
    passed_over = ("identity.dataset", "identity.seed", "identity.task.protocol_sha256")
    asked = [n for n in under(("identity",), ("recipe",)) if not n.startswith(passed_over)]
    candidates = (
        ("something else was asked for", asked),
        ("other data", under(("identity", "dataset"))),
        ("another seed", under(("identity", "seed"))),
        ("other files besides the encoder", under(("details", "assets"))),
        ("other code that numbers pass through", under(("code", "semantic_sha256"))),
        ("other versions of packages", under(("environment", "packages"))),
        ("other rounding", under(*(("environment", name) for name in ROUNDING))),
        ("metrics read other files", [r.name for r in rows if r.path[-1] == "resource"]),
    )
    found = [f"{what}: {_listed(names)}" for what, names in candidates if names]
    return found or [UNEXPLAINED]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
