"""Run as a script: asks a task for what must not need torch, and says whether it did.

Reads a pickle that its parent process made this moment from standard input. A script, and not
`python -m`, because importing the kit itself imports torch.
"""

from __future__ import annotations

import json
import pickle
import sys

NOT_IMPORTABLE = 3  # exit code: the task's module is unknown to a fresh process


def main() -> None:
    """Write JSON: which calls imported torch, what `accepts` said, and every metric."""
    plugins, packed = pickle.load(sys.stdin.buffer)
    if plugins:
        from omnibench.registry import Registry

        Registry.discover(plugins)
    try:
        task, dataset, encoder, recipe, predictions = pickle.loads(packed)
    except (ImportError, AttributeError) as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_IMPORTABLE)
    needed = {"importing it": "torch" in sys.modules}
    reason = task.accepts(dataset, encoder, recipe)
    needed["accepts()"] = "torch" in sys.modules
    metrics = [(m.id, m.value) for each in predictions for m in task.score(each, "test")]
    needed["score()"] = "torch" in sys.modules
    told = {"torch": [call for call, did in needed.items() if did][:1], "reason": reason}
    print(json.dumps(told | {"metrics": metrics}))


if __name__ == "__main__":
    main()
