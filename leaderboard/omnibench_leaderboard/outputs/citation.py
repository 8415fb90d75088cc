"""Whom to cite: this board, its encoders and its datasets."""

from __future__ import annotations

import json
import re

from omnibench_leaderboard.board import Board
from omnibench_leaderboard.outputs import inert
from omnibench_leaderboard.outputs.site.paths import short

ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})(v\d+)?", re.IGNORECASE)
DOI = re.compile(r"(?:doi:)?(10\.\d{4,9}/[A-Za-z0-9.()/:;_-]+)")


def address(reference: str) -> str:
    """Return the https address of an arXiv number, a DOI or an https address, else nothing."""
    if found := ARXIV.fullmatch(reference):
        return f"https://arxiv.org/abs/{found[1]}"
    if found := DOI.fullmatch(reference):
        return f"https://doi.org/{found[1]}"
    return reference if re.fullmatch(r"https://[^\s\"'<>\\{}]+", reference) else ""


def bibtex(board: Board) -> str:
    """Return an entry for each encoder and dataset that says where it was described."""
    described = [("encoder", e.label, e.paper) for e in board.encoders]
    described += sorted({("dataset", c.setting.dataset, c.dataset.citation) for c in board.columns})
    return "\n".join(
        _entry(kind, name, reference) for kind, name, reference in described if reference
    )


def _entry(kind: str, name: str, reference: str) -> str:
    where = inert.latex(address(reference) or reference)
    return (
        f"@misc{{{kind}-{short(name)},\n"
        f"  title = {{{{{inert.latex(name)}}}}},\n"
        f"  note = {{{kind} on this board}},\n"
        f"  howpublished = {{{where}}}\n}}\n"
    )


def cff(board: Board, title: str) -> str:
    """Return a CITATION.cff; JSON texts are YAML texts, so that nothing needs escaping."""
    lines = [
        "cff-version: 1.2.0",
        f"title: {json.dumps(title)}",
        'message: "If you use this board, cite it and the papers of its encoders and datasets."',
        "type: dataset",
        "authors:",
        '  - name: "The authors of this board"',
        "references:",
        "  - type: software",
        '    title: "omnibench: benchmarks for radiology foundation encoders"',
        "    authors:",
        '      - name: "The omnibench authors"',
    ]
    for encoder in board.encoders:
        if url := address(encoder.paper):
            lines += [
                "  - type: article",
                f"    title: {json.dumps(inert.line(encoder.name))}",
                "    authors:",
                f"      - name: {json.dumps(f'The authors of {inert.line(encoder.paper)}')}",
                f"    url: {json.dumps(url)}",
            ]
    return "\n".join(lines) + "\n"
