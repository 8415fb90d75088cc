"""All pages and figures of a site, in memory, from one board."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from omnibench_leaderboard import formatting as show
from omnibench_leaderboard.board import Board, Cell, Column, Comparison, Cost
from omnibench_leaderboard.outputs import citation, inert, tables
from omnibench_leaderboard.outputs.figures import cost, critical, rows
from omnibench_leaderboard.outputs.figures.svg import short
from omnibench_leaderboard.outputs.site import paths

HERE = Path(__file__).parent
TITLE = "Encoders in radiology: leaderboard"
STATIC = ("style.css", "table.js")
# Nothing from elsewhere, nothing inline: neither script nor style.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
REFERENCES = (
    "Crossed seeds and cases: Satterthwaite (1946), Biometrics Bulletin 2, 110-114.",
    "Correction for many tests: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.",
    "Across datasets: Demšar (2006), JMLR 7, 1-30.",
    "Friedman's F: Iman and Davenport (1980), Communications in Statistics A 9, 571-595.",
    "Equivalence: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.",
    "Bayesian signed-rank test: Benavoli et al. (2017), JMLR 18, 1-36.",
    "Colours: Okabe and Ito (2008), Color Universal Design.",
)


@dataclass(frozen=True)
class Figure:
    """A drawing with its file and a caption; the table beside it holds its numbers."""

    path: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Section:
    """What a dataset's page says of one headline column."""

    column: Column
    figures: tuple[Figure, ...]
    others: tuple[Column, ...]
    printed: tuple[str, ...]
    sheets: tuple[tuple[str, str], ...]


class Site:
    """Renders a board.

    Args:
        board: What to show.
        downloads: Files beside the index that pages name.
        records: Paths of the records that lie beside the pages, under `records/`.
        sheets: Paths of pictures in the site, by path of the record that they belong to.
    """

    def __init__(
        self,
        board: Board,
        downloads: Iterable[str] = (),
        *,
        records: frozenset[str] = frozenset(),
        sheets: Mapping[str, str] | None = None,
    ) -> None:
        self.board = board
        self.sheets = sheets or {}
        self.encoders = {encoder.label: encoder for encoder in board.encoders}
        self.files: dict[str, str] = {}
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_finalized,
        )
        self._templates.globals |= {
            "board": board,
            "encoders": self.encoders,
            "page": paths,
            "anchor": paths.anchor,
            "show": show,
            "tables": tables,
            "policy": POLICY,
            "downloads": tuple(downloads),
            "records": records,
            "address": citation.address,
            "meaning": self._meaning,
            "costs": costs,
            "values": _values,
            "family_title": _family_title,
        }

    def render(self) -> dict[str, str]:
        """Return every file of the site by its path, all of them text."""
        self._index()
        for columns in self._datasets.values():
            self._dataset(columns)
        for label in self.encoders:
            self._encoder(label)
        for pair, found in self._comparisons.items():
            self._comparison(pair, found)
        self._methods()
        for name in STATIC:
            self.files[name] = (HERE / name).read_text(encoding="utf-8")
        return self.files

    def _index(self) -> None:
        families = tables.families(self.board)
        cells = [cell for column in self.board.headlines for cell in column.cells]
        datasets = {column.setting.dataset for column in self.board.headlines}
        self._page(
            "index.html",
            "index.html",
            TITLE,
            families=families,
            counts={"datasets": len(datasets), "runs": sum(cell.n for cell in cells)},
            remarks=len(tables.left_out(self.board)),
            across=self._across,
            notes=_shared_notes,
            printed=_printed,
        )

    def _across(self, family: tables.Family) -> Markup:
        overall = family.overall
        if overall is None:
            return Markup("")
        drawings = [
            ("cd", critical.diagram(overall), "Bars join encoders that are not separated."),
            ("rank", rows.stability(overall), "Datasets resampled; few datasets say little."),
        ]
        made = [self._figure(kind, svg, text, family.title) for kind, svg, text in drawings if svg]
        template = self._templates.get_template("across.html")
        return Markup(template.render(figures=made, overall=overall))

    def _dataset(self, columns: list[Column]) -> None:
        headlines = [column for column in columns if column.headline]
        self._page(
            paths.dataset(columns[0]),
            "dataset.html",
            columns[0].setting.dataset,
            facts=columns[0].dataset,
            parts_of=[self._section(column, columns) for column in headlines],
        )

    def _section(self, column: Column, columns: list[Column]) -> Section:
        others = [c for c in columns if c.setting == column.setting and not c.headline]
        compared = [
            rows.Difference(cell.encoder, row, column)
            for cell in column.cells
            if (row := tables.compared(self.board, column, cell)) is not None
        ]
        other = tables.beside(self.board, column)
        forest = rows.forest(compared, f"Differences from {other}") if compared else None
        drawings = [
            ("seeds", rows.seeds(column), "Runs, means and intervals."),
            ("forest", forest, f"Differences from {other}."),
            ("cost", cost.cost(column), "Cost against quality; times belong to the machine."),
        ]
        return Section(
            column=column,
            figures=tuple(
                self._figure(kind, svg, text, column.name) for kind, svg, text in drawings if svg
            ),
            others=tuple(others),
            printed=tuple(tables.published(column)),
            sheets=tuple(
                (cell.encoder, self.sheets[cell.records[0]])
                for cell in column.cells
                if cell.records[0] in self.sheets
            ),
        )

    def _encoder(self, label: str) -> None:
        found = [
            (column, cell)
            for column in self.board.headlines
            for cell in column.cells
            if cell.encoder == label
        ]
        self._page(
            paths.encoder(label), "encoder.html", label, encoder=self.encoders[label], found=found
        )

    def _comparison(self, pair: tuple[str, str], found: list[tuple[Column, Comparison]]) -> None:
        title = f"{pair[0]} beside {pair[1]}"
        drawn = [
            rows.Difference(f"{column.setting.task} {column.setting.dataset}", row, column)
            for column, row in found
        ]
        self._page(
            paths.comparison(*pair),
            "comparison.html",
            title,
            pair=pair,
            found=found,
            figure=self._figure("pair", rows.forest(drawn, title), "Differences.", *pair),
            command=f"omnibench leaderboard compare {_quoted(pair[0])} {_quoted(pair[1])}",
        )

    def _methods(self) -> None:
        data = {
            (c.setting.dataset, "dataset", c.dataset.licence, c.dataset.commercial)
            for c in self.board.columns
        }
        weights = [(e.label, "weights", e.licence, e.commercial) for e in self.board.encoders]
        self._page(
            "methods.html",
            "methods.html",
            "Methods",
            licences=[*weights, *sorted(data, key=lambda row: row[0])],
            remarks=tables.left_out(self.board),
            references=REFERENCES,
        )

    @cached_property
    def _datasets(self) -> dict[str, list[Column]]:
        found: dict[str, list[Column]] = defaultdict(list)
        for column in self.board.columns:
            found[paths.dataset(column)].append(column)
        return found

    @cached_property
    def _comparisons(self) -> dict[tuple[str, str], list[tuple[Column, Comparison]]]:
        """Every pair that the board compares."""
        found: dict[tuple[str, str], list[tuple[Column, Comparison]]] = defaultdict(list)
        for column in self.board.headlines:
            for cell in column.cells:
                both = (cell.against_reference, cell.against_best)
                distinct = {row.other: row for row in reversed(both) if row is not None}
                for other, row in sorted(distinct.items()):
                    found[cell.encoder, other].append((column, row))
        return found

    def _meaning(self, flag: str) -> str:
        known = dict(self.board.methods.flags)
        return known.get(tables.flag_code(flag), flag)

    def _figure(self, kind: str, svg: str, caption: str, *names: str) -> Figure:
        path = paths.figure(kind, *names)
        self.files[path] = svg
        # Drawn by our own code, which escapes every text.
        return Figure(path, Markup(svg), caption)

    def _page(self, path: str, template: str, title: str, **facts: Any) -> None:
        root = "../" * path.count("/")
        page = self._templates.get_template(template)
        self.files[path] = page.render(title=title, root=root, **facts) + "\n"


def _finalized(value: object) -> object:
    return value if isinstance(value, Markup) or not isinstance(value, str) else inert.line(value)


def costs(cost: Cost) -> list[str]:
    """Return what is known of a cost, in words."""
    known = (
        (cost.params_total, "{} parameters"),
        (cost.params_trainable, "{} of these trained"),
        (cost.flops_per_image, "{} FLOPs an image"),
        (cost.images_per_second, "{} images a second"),
        (cost.seconds, "{} s a run"),
        (cost.peak_memory_bytes, "{}B peak memory"),
    )
    return [text.format(short(value, 3)) for value, text in known if value is not None]


def _values(column: Column, cell: Cell) -> list[tuple[int, str]]:
    return [
        (seed, show.number(value, column.unit))
        for seed, value in zip(cell.seeds, cell.values, strict=True)
    ]


def _family_title(column: Column) -> str:
    return replace(column.setting, dataset="").title


def _shared_notes(family: tables.Family) -> list[str]:
    return sorted({note for column in family.columns for note in column.notes})


def _printed(family: tables.Family) -> list[tuple[str, str, dict[str, str]]]:
    """Return comparable printed values: encoder, source, and values by dataset."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for column in family.columns:
        for row in column.published:
            if not row.reason:
                shown = tables.printed(row, column)
                found[row.encoder, row.source][column.setting.dataset] = shown
    return [(name, source, values) for (name, source), values in sorted(found.items())]


def _quoted(label: str) -> str:
    return shlex.quote(inert.line(label))
