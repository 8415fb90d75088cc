"""The page of an audit: one file that asks nothing of any other, with pictures of pairs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import jinja2

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
        finalize=lambda value: plain(value) if isinstance(value, str) else value,
    )
    style, _, _ = templates.loader.get_source(templates, "page.css")  # type: ignore[union-attr]
    sha256 = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = sorted(found.pairs, key=_importance)[:PAIRS]
    return templates.get_template("page.html").render(
        found=found,
        card=card,
        style=style,
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{sha256}'; "
        "base-uri 'none'; form-action 'none'",
        lines=list(lines(found)),
        pairs=_drawn(shown, dataset),
        most=_most(found.splits.values()),
    )


def _importance(pair: Pair) -> tuple[bool, int, float]:
    """Order pairs: across splits first, the latest split first, then the least alike."""
    later = SPLITS.index(pair.second.split)
    return pair.splits[0] == pair.splits[1], -later, pair.score


def _drawn(pairs: Sequence[Pair], dataset: Dataset) -> list[dict[str, Any]]:
    pictures = Pictures(dataset)

    def told(case: Case) -> dict[str, Any]:
        label = pictures.target(case) if dataset.kind == "labels" else None
        name = dataset.classes[label] if isinstance(label, int) and _is_class(label) else ""
        return {"case": case, "label": name, "uri": pictures.uri(case)}

    def _is_class(label: int) -> bool:
        return 0 <= label < len(dataset.classes)

    return [{"pair": pair, "samples": (told(pair.first), told(pair.second))} for pair in pairs]


def _most(splits: Sequence[SplitFacts] | Any) -> int:
    """Return the largest number of images of a class, which is the longest bar."""
    return max((count for split in splits for count in split.classes.values()), default=0)
