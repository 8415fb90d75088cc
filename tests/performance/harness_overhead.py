"""What the harness costs: a seed from `execute` to its record, against the same loop written bare.

    OMP_NUM_THREADS=1 python tests/performance/harness_overhead.py [--rounds 20] [--epochs 12]

Classification on the embedded brain slices, full tuning of a tiny transformer, no augmentation. Bare
means the same model, batches, optimiser and validation, and predictions in memory: no claims, no
checks, no state of an unfinished seed, no record. Decoded images are in the store for both. What a
cell costs once, whatever the number of its seeds (the look at the encoder, the picture), is told
apart: the seed that is measured is the second. CPU time of the process, in turns; prints median,
lowest and highest of the rounds.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import times, told
from torch.nn import functional as F

from omnibench.cells import Cell, RunRequest
from omnibench.features.images import images_of
from omnibench.forward import CHUNK
from omnibench.harness import execute
from omnibench.interfaces import Silent
from omnibench.loading import as_images
from omnibench.metrics.classification import confusion_counts, f1_macro
from omnibench.planning import plan
from omnibench.registry import Registry
from omnibench.seeding import generator, seed_epoch, seed_initialisation
from omnibench.store import Store
from omnibench_plugins.tasks.cls.classifier import build_classifier
from omnibench_plugins.tasks.cls.samples import read_labels, softmax

# Multiples of a chunk of 16, so that no image is computed only to fill one up.
SETTINGS = {"augmentation": "none", "max_images": "128,32,64", "batch_size": "16"}


def bare(cell: Cell, seed: int) -> np.ndarray[Any, Any]:
    """Train and predict without anything around it; return test scores [N, C]."""
    recipe, dataset = cell.recipe, cell.dataset
    images = {
        name: images_of(
            cell.handle.store, dataset, name, recipe.image_size, True, progress=Silent()
        )
        for name in ("train", "val", "test")
    }
    labels = {name: read_labels(dataset, name).labels for name in ("train", "val")}
    encoder = cell.handle.build(normalization=recipe.normalization, pool=recipe.pool)
    seed_initialisation(seed)
    model = build_classifier(encoder, len(dataset.classes), recipe, None)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )

    def predicted(name: str) -> torch.Tensor:
        model.eval()
        with torch.no_grad():
            parts = torch.arange(len(images[name])).split(CHUNK)
            return torch.cat([model(as_images(images[name][part], "cpu")) for part in parts])

    best_score, best = -math.inf, {}
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            angle = math.pi * epoch / recipe.epochs
            group["lr"] = recipe.lr * (1 + math.cos(angle)) / 2
        seed_epoch(seed, epoch)
        order = torch.randperm(
            len(labels["train"]), generator=generator("order", dataset.name, seed, epoch)
        )
        model.train()
        for batch in order.split(recipe.batch_size):
            loss = F.cross_entropy(
                model(as_images(images["train"][batch], "cpu")), labels["train"][batch]
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
            optimizer.step()
            loss.item()
        counts = confusion_counts(
            predicted("val").argmax(dim=1).numpy(), labels["val"].numpy(), len(dataset.classes)
        )
        score = round(f1_macro(counts), 4)
        if score >= best_score:
            best_score = score
            best = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)
    predicted("val")
    return softmax(predicted("test"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.rounds, options.epochs)


def measure(folder: Path, rounds: int, epochs: int) -> None:
    """Run a cell's first seed, then its second again and again."""
    asked = RunRequest(
        encoders=["timm:test_vit"],
        task="cls",
        datasets=["mni152-tissue"],
        recipe="quick",
        settings={**SETTINGS, "epochs": str(epochs)},
        seeds=(0, 1),
        random_weights=True,
        data_root=folder,
        cache=folder / "cache",
        results=folder / "first",
        device="cpu",
    )
    (cell,) = plan(asked, Registry.discover())
    first = replace(cell, seeds=(0,))
    list(execute([first], asked))  # imports what is needed
    shutil.rmtree(asked.results / "pictures")
    start = time.process_time()
    list(execute([first], asked))
    print(f"a cell's picture: {time.process_time() - start:.2g} s once")
    copies = iter([shutil.copytree(asked.results, folder / str(n)) for n in range(rounds + 1)])
    found: dict[str, np.ndarray[Any, Any]] = {}

    def harness() -> None:
        fresh = replace(asked, results=next(copies))
        *_, (_, record, _) = execute([cell], fresh)
        found["harness"] = Store(fresh.results).predictions(record)["test_score"]

    def without() -> None:
        found["bare"] = bare(cell, 1)

    measured = times({"harness": harness, "bare": without}, rounds)
    equal = np.array_equal(found["harness"], found["bare"].astype(found["harness"].dtype))
    ratio = told(
        f"a seed of {epochs} epochs",
        measured["harness"],
        measured["bare"],
        f"scores {'equal' if equal else 'DIFFER'}",
    )
    print(f"overhead {100 * (ratio - 1):.2f} %")


if __name__ == "__main__":
    main()
