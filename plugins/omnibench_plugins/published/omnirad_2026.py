"""The OmniRad paper's Tables 3 to 10 and 12, each cell with the identity of what it measures.

`omnirad_2026.csv` holds every printed cell of Tables 3 to 12. The paper's segmentation
columns mix two metrics: its own rows average IoU over classes with the background and over
batches of 16 (`miou_paper@448`); the CNN rows are MedSegBench's per-image scores at the mask's
own size, foreground only for binary sets, all classes for FHPsAOP. Its captioning columns BLEU-1
and BLEU-4 are the n-gram precisions `p1` and `p4`: as cumulative scores BLEU-4 would be BLEU.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.resources import files

from omnibench.interfaces import PublishedValue

ENCODERS = {
    "OmniRad small": "omnirad-small",
    "OmniRad base": "omnirad-base",
    "Radio DINO small": "radio-dino-small",
    "Radio DINO base": "radio-dino-base",
    "DINO small": "dino-small",
    "DINO base": "dino-base",
    "DINOv2 small": "dinov2-small",
    "DINOv2 base": "dinov2-base",
    "DINOv3 small": "dinov3-small",
    "DINOv3 base": "dinov3-base",
    "CLIP base": "clip-base",
    "MAE base": "mae-base",
    "VIT small": "vit-small",
    "VIT base": "vit-base",
}
UNETS = {
    "RN-18": "unet-resnet18",
    "RN-50": "unet-resnet50",
    "EN": "unet-efficientnet-b0",
    "MN-v2": "unet-mobilenet-v2",
    "DN-121": "unet-densenet121",
}
TUNINGS = {
    "": "full",
    "full": "full",
    "head_only": "head",
    "lora_r8_a16": "lora-r8",
    "lora_r16_a32": "lora-r16",
}
# Without rotary embedding, registers or the pre-block norm in the released feature extractor,
# these rows can only be met by the recipe that repeats it.
RELEASED_ONLY = ("dinov3-small", "dinov3-base", "clip-base")
CAPTION_ENCODERS = ENCODERS | {"CLIP base": "clip-base-openai"}
CAPTION_METRICS = {
    "bleu": "bleu",
    "bleu1": "p1",
    "bleu4": "p4",
    "meteor": "meteor",
    "rougeL": "rouge_l",
}
# The released code takes CLIP's hidden states as they leave the last block.
NOT_NORMED = "its code reads CLIP's tokens before the last norm, here they are read after it"


def values() -> Iterator[PublishedValue]:
    """Yield every cell of Tables 3 to 10 and 12 that belongs to an encoder of this package."""
    text = files(__package__).joinpath("omnirad_2026.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        if not row["mean"]:
            continue
        if row["task"] == "classification" and row["model"] in ENCODERS:
            yield _classification(row)
        elif row["task"] == "segmentation" and row["table"] in ("9", "10"):
            yield _segmentation(row)
        elif row["table"] == "12":
            yield _captioning(row)


def _classification(row: dict[str, str]) -> PublishedValue:
    dataset = row["dataset"].lower()
    binary = dataset in ("breastmnist", "pneumoniamnist")
    metric = {
        "accuracy": "accuracy",
        "f1": "f1_macro",
        "auc": "auc" if binary else "auc_ovr_macro",
    }[row["metric"]]
    return PublishedValue(
        source=f"OmniRad, Table {row['table']}",
        encoder=ENCODERS[row["model"]],
        task="cls",
        dataset=dataset,
        metric=metric,
        printed_metric=row["metric"],
        value=float(row["mean"]),
        sd=_sd(row),
        tuning=TUNINGS[row["setting"] if row["table"] == "8" else ""],
        recipes=("paper", "released"),
    )


def _segmentation(row: dict[str, str]) -> PublishedValue:
    dataset = row["dataset"].lower().removesuffix("msbench")
    unet = row["model"] in UNETS
    encoder = UNETS[row["model"]] if unet else ENCODERS[row["model"]]
    if unet:
        recipes: tuple[str, ...] = ("medsegbench",)
        metric = "iou_macro_image@native" if dataset == "fhpsaop" else "iou_fg_image@native"
    else:
        recipes = ("released",) if encoder in RELEASED_ONLY else ("paper", "released")
        metric = "miou_paper@448"
    return PublishedValue(
        source=f"OmniRad, Table {row['table']}",
        encoder=encoder,
        task="seg",
        dataset=dataset,
        metric=metric,
        printed_metric="mIoU",
        value=float(row["mean"]),
        sd=_sd(row),
        recipes=recipes,
    )


def _captioning(row: dict[str, str]) -> PublishedValue:
    """Read a cell of Table 12, which only the recipe that repeats the released code can meet.

    The paper's formulas differ from that code in the merger's scale and norm and in the tokens it
    reads, and under the code's libraries a training caption sees visual tokens up to its own
    length only: `paper` trains another model.
    """
    settings = dict(part.split("=") for part in row["setting"].split(";"))
    encoder = CAPTION_ENCODERS[row["model"]]
    return PublishedValue(
        source="OmniRad, Table 12",
        encoder=encoder,
        task="caption",
        dataset=row["dataset"].lower(),
        metric=CAPTION_METRICS[row["metric"]],
        printed_metric=row["metric"],
        value=float(row["mean"]),
        variant=f"beam{settings['beams']}-{settings['max_tokens']}",
        recipes=("released",),
        reason=NOT_NORMED if encoder == "clip-base-openai" else "",
    )


def _sd(row: dict[str, str]) -> float | None:
    return float(row["std"]) if row["std"] else None
