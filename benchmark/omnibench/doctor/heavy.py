"""Asks what takes seconds to import, in a process of its own: `python -m omnibench.doctor.heavy`.

A broken torch may end the process that imports it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any


def torch() -> dict[str, Any]:
    """Return torch's version and, for the CPU and each accelerator, what it can do."""
    import torch

    cpu = {"name": "cpu", "told": f"{torch.get_num_threads()} threads, fp32 and bf16"}
    devices = [_accelerator(index) for index in range(torch.cuda.device_count())]
    return {"version": torch.__version__, "cuda": torch.version.cuda, "devices": [cpu, *devices]}


def wordnet() -> dict[str, Any]:
    """Return which WordNet METEOR would read, None if there is none; NLTK knows where it lies."""
    from omnibench.metrics import wordnet

    # NLTK's own start imports all of it and scipy; the module that knows its folders needs neither.
    if (spec := importlib.util.find_spec("nltk")) is not None:
        sys.modules["nltk"] = importlib.util.module_from_spec(spec)
    found = wordnet.found()
    return {"name": found.name if found else None}


def _accelerator(index: int) -> dict[str, str]:
    """Compute a little on an accelerator: one that is seen may still not work."""
    import torch

    name = f"cuda:{index}"
    try:
        free, total = torch.cuda.mem_get_info(index)
        ones = torch.ones(64, 64, device=name, dtype=torch.float16)
        if float((ones @ ones)[0, 0]) != 64:
            raise RuntimeError("64 times 1 is not 64 there")
        with torch.cuda.device(index):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        kinds = "fp32, fp16 and bf16" if bf16 else "fp32 and fp16"
        return {"name": name, "told": f"{torch.cuda.get_device_name(index)}, {memory}, {kinds}"}
    except Exception as error:  # noqa: BLE001 - drivers raise anything
        return {"name": name, "fault": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    print(json.dumps({"torch": torch, "wordnet": wordnet}[sys.argv[1]]()))
