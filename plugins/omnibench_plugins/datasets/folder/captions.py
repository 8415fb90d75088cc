"""Captioned images: `{train,valid,test}_captions.csv` as ROCOv2 has them, or one `captions.csv`.

Whatever is wrong with tables and images is gathered and told at once (`Layout.problems`).
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from omnibench.cards import SPLITS
from omnibench.errors import IntegrityError, SetupError
from omnibench_plugins.datasets.folder.samples import (
    SPLIT_FOLDERS,
    Layout,
    Lookup,
    Options,
    Sample,
    images_below,
    listed,
    read_table,
    refuse_label_column,
    require_column,
)

log = logging.getLogger(__name__)

LICENCES = "license_information.csv"
ARTICLE = "PMCID"  # column of LICENCES: the article that a figure comes from

Rows = list[dict[str, str]]


def caption_tables(root: Path) -> dict[str, Path]:
    """Return the caption table of each split; of the split '' if one table holds all."""
    tables: dict[str, Path] = {}
    for split, names in SPLIT_FOLDERS.items():
        for path in (root / f"{name}_captions.csv" for name in names):
            if path.is_file():
                tables[split] = path
    if tables and len(tables) < len(SPLITS):
        missing = " and ".join(s for s in SPLITS if s not in tables)
        raise SetupError(f"{root} has caption tables but none for {missing}")
    if not tables and (root / "captions.csv").is_file():
        tables = {"": root / "captions.csv"}
    return tables


def read_captions(root: Path, options: Options) -> Layout:
    """Read tables with the columns ID and Caption, and images in folders named like the splits.

    Several rows of one ID are several captions of one image. Beside `train_captions.csv` may lie
    `train_concepts.csv` (ID, CUIs joined by `;`), and `license_information.csv` (ID, PMCID), whose
    articles then are the groups; `group_column` names a column of the caption tables instead.
    """
    refuse_label_column(options)
    problems: list[str] = []
    by_split = {}
    tables_of: Counter[str] = Counter()
    for split, table in caption_tables(root).items():
        keys, by_split[split] = _read_split(root, split, table, options, problems)
        tables_of.update(keys)
    if torn := [key for key, tables in tables_of.items() if tables > 1]:
        problems.append(f"{len(torn)} ids are in more than one split: {listed(torn)}")
    if "group_column" not in options:
        _add_articles(root, by_split, problems)
    everything = [sample for samples in by_split.values() for sample in samples.values()]
    facts = {"layout": "captions table"}
    if any(sample.concepts is not None for sample in everything):
        facts["concepts"] = "codes given with the captions"
        if any(sample.concepts is None for sample in everything):
            problems.append("some splits have a table of concepts, others have none")
    return Layout(kind="captions", samples=everything, facts=facts, problems=problems)


def _read_split(
    root: Path, split: str, table: Path, options: Options, problems: list[str]
) -> tuple[set[str], dict[str, Sample]]:
    """Return all IDs of one table, and the samples of those with an image."""
    rows = _rows(table, ("id", "caption"), problems)
    if not rows:
        return set(), {}
    if "group_column" in options:
        require_column(rows, options["group_column"], "group_column")
    captions = _captions(rows, table.name, problems)
    folder = table.name.removesuffix("_captions.csv") if split else ""
    images = images_below(root, folder)
    found = _find(Lookup(images, folder), captions, table.name, problems)
    if bare := set(images) - set(found.values()):
        problems.append(
            f"{len(bare)} of {len(images)} images have no caption in {table.name}: {listed(bare)}"
        )
    groups = {row["id"]: row[options["group_column"]] for row in rows if "group_column" in options}
    if without := [key for key, group in groups.items() if not group]:
        problems.append(
            f"column {options['group_column']} is empty for {len(without)} images: "
            f"{listed(without)}"
        )
    concepts = _concepts(table, captions, problems)
    samples = {
        key: Sample(
            image=image,
            target=captions[key],
            split=split,
            group=groups.get(key, ""),
            concepts=None if concepts is None else concepts.get(key, ()),
        )
        for key, image in found.items()
    }
    return set(captions), samples


def _rows(table: Path, columns: tuple[str, ...], problems: list[str]) -> Rows:
    """Return the rows of a table, `columns` in lower case; none if it is unusable."""
    try:
        rows = read_table(table)
    except IntegrityError as error:
        problems.append(str(error))
        return []
    spelt = {name.lower(): name for name in rows[0]}
    lacking = [column for column in columns if column not in spelt]
    if lacking:
        problems.append(
            f"{table.name} has no column {' or '.join(lacking)}: its columns are "
            f"{', '.join(rows[0]) or 'without names'}"
        )
        return []
    rows = [row | {column: row[spelt[column]] for column in columns} for row in rows]
    if nameless := sum(not row["id"] for row in rows):
        problems.append(f"{table.name}: {nameless} rows have no ID")
    return [row for row in rows if row["id"]]


def _captions(rows: Rows, name: str, problems: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the captions of each ID."""
    captions: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        captions[row["id"]].append(row["caption"])
    if empty := [key for key, texts in captions.items() if not all(texts)]:
        problems.append(f"{name}: {len(empty)} captions are empty: {listed(empty)}")
    several = [key for key, texts in captions.items() if len(texts) > 1]
    if twice := [key for key in several if len(set(captions[key])) < len(captions[key])]:
        problems.append(
            f"{name}: {len(twice)} ids stand more than once with one caption: {listed(twice)}"
        )
    elif several:
        log.warning(
            "%s: %d ids stand more than once (%s); read as several captions of one image",
            name,
            len(several),
            listed(several),
        )
    return {key: tuple(texts) for key, texts in captions.items()}


def _find(images: Lookup, keys: Iterable[str], name: str, problems: list[str]) -> dict[str, str]:
    """Return the image of every ID that has one."""
    found, missing = {}, []
    for key in keys:
        try:
            image = images.find(key)
        except IntegrityError as error:
            problems.append(f"{name}: {error}")
            continue
        if image is None:
            missing.append(key)
        else:
            found[key] = image
    if missing:
        problems.append(
            f"{name} names {len(missing)} of {len(missing) + len(found)} images that are not in "
            f"the folder: {listed(missing)}"
        )
    return found


def _concepts(
    captions: Path, known: Mapping[str, object], problems: list[str]
) -> dict[str, tuple[str, ...]] | None:
    """Return the codes of each ID, or None if there is no such table."""
    table = captions.with_name(captions.name.replace("captions.csv", "concepts.csv"))
    if not table.is_file():
        return None
    codes: defaultdict[str, set[str]] = defaultdict(set)
    for row in _rows(table, ("id", "cuis"), problems):
        codes[row["id"]].update(code.strip() for code in row["cuis"].split(";") if code.strip())
    if stray := codes.keys() - known.keys():
        problems.append(f"{table.name} names {len(stray)} ids without caption: {listed(stray)}")
    return {key: tuple(sorted(of_case)) for key, of_case in codes.items()}


def _add_articles(root: Path, by_split: dict[str, dict[str, Sample]], problems: list[str]) -> None:
    """Make the article of each figure its group, where the table of licences tells it."""
    table = root / LICENCES
    if not table.is_file():
        return
    rows = read_table(table)
    ids = next((column for column in rows[0] if column.lower() == "id"), None)
    if ids is None or ARTICLE not in rows[0]:
        log.info("%s has no columns ID and %s: groups are unknown", LICENCES, ARTICLE)
        return
    articles = {row[ids]: row[ARTICLE] for row in rows}
    without = [key for samples in by_split.values() for key in samples if not articles.get(key)]
    if without:
        problems.append(f"{LICENCES} has no {ARTICLE} for {len(without)} images: {listed(without)}")
        return
    for samples in by_split.values():
        samples.update({key: replace(s, group=articles[key]) for key, s in samples.items()})
