"""Masks as classes: what is no class is refused, and labels may be numbered a split."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tiny_segmentation import TINY, blobs

from omnibench.errors import IntegrityError
from omnibench.interfaces import RunContext
from omnibench_plugins.tasks.seg.samples import read_data


def relabelled(dataset: Any, split: str, old: int, new: int) -> Any:
    source = dataset.split(split)
    masks = [np.where(m == old, new, m).astype(np.uint8) for m in source.masks]
    splits = {**dataset.splits, split: dataclasses.replace(source, masks=masks)}
    return dataclasses.replace(dataset, splits=splits)


def test_a_value_that_is_no_class_is_an_error():
    with pytest.raises(IntegrityError, match=r"sample 0 in split 'train' .* the value 7, but 3"):
        read_data(relabelled(blobs(3), "train", 2, 7), TINY, RunContext(seed=0).progress)


def test_per_split_labels_shift_classes_and_fixed_ones_do_not():
    silent = RunContext(seed=0).progress
    dataset = relabelled(blobs(3), "test", 1, 0)  # the test split lacks class 1
    fixed = read_data(dataset, TINY, silent)
    every = torch.arange(7)
    assert fixed.splits["test"].masks[every].unique().tolist() == [0, 2]
    shifted = read_data(dataset, dataclasses.replace(TINY, label_map="per_split"), silent)
    assert shifted.splits["test"].masks[every].unique().tolist() == [0, 1]
    assert shifted.splits["test"].native_mask(0).unique().tolist() == [0, 1]
    assert shifted.values == {"train": [0, 1, 2], "val": [0, 1, 2], "test": [0, 2]}
    lacking = relabelled(blobs(3), "train", 1, 0)
    with pytest.raises(IntegrityError, match=r"'val' .* more classes than the training split"):
        read_data(lacking, dataclasses.replace(TINY, label_map="per_split"), silent)
