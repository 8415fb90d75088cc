"""The page of an audit: one file that asks nothing of any other, with pictures of pairs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from omnibench.audit.findings import Case, Findings, Pair, SplitFacts
from omnibench.audit.pictures import Pictures
from omnibench.audit.wording import lines
from omnibench.cards import SPLITS, DatasetSpec
from omnibench.console import plain
from omnibench.interfaces import Dataset

PAIRS = 60  # that are drawn; two pictures of some 20 kB each


def render(found: Findings, dataset: Dataset, card: DatasetSpec) -> str:
    """Return the page as HTML.

    Args:
        found: What to show.
        dataset: Where pictures come from.
        card: Licence and origin.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("omnibench.audit", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
    )
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    sha256 = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = sorted(found.pairs, key=_importance)[:PAIRS]
    return templates.get_template("page.html").render(
        found=found,
        card=card,
        style=Markup(style),
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{sha256}'; "
        "base-uri 'none'; form-action 'none'",
        lines=list(lines(found)),
        pairs=_drawn(shown, dataset),
        most=_most(found.splits.values()),
    )


def _importance(pair: Pair) -> tuple[bool, bool, int, float]:
    """Order pairs: conflicts first, then across splits, the latest split, the least alike."""
    later = SPLITS.index(pair.second.split)
    return not pair.conflicting, pair.splits[0] == pair.splits[1], -later, pair.score


def _drawn(pairs: Sequence[Pair], dataset: Dataset) -> list[dict[str, Any]]:
    pictures = Pictures(dataset)

    def told(case: Case, conflicting: bool) -> dict[str, Any]:
        outlined = conflicting and dataset.kind == "masks"
        label = _label(pictures.target(case), dataset) if dataset.kind == "labels" else ""
        return {"case": case, "label": label, "uri": pictures.uri(case, outlined=outlined)}

    return [
        {"pair": p, "samples": [told(case, p.conflicting) for case in (p.first, p.second)]}
        for p in pairs
    ]


def _label(target: Any, dataset: Dataset) -> str:
    """Return the names of the classes of one image; empty where it has none."""
    chosen = [target] if isinstance(target, int) else np.flatnonzero(target).tolist()
    names = dict(enumerate(dataset.classes))
    return ", ".join(names.get(number, f"no class {number}") for number in chosen)


def _most(splits: Iterable[SplitFacts]) -> int:
    """Return the largest number of images of a class, which is the longest bar."""
    return max((count for split in splits for count in split.classes.values()), default=0)


def _harmless(value: Any) -> Any:
    """Return texts of strangers without control characters; jinja escapes them afterwards."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
