"""No source of ours runs what it reads, or unpacks an archive: looked for in the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = ("benchmark", "plugins", "omnirad", "leaderboard")
# Last part of a called name, with the part before it where the last alone says too little.
CALLS = {
    "eval", "exec", "extractall", "unpack_archive", "os.system", "os.popen", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "jit.load", "hub.load", "yaml.load", "marshal.loads",
    "shelve.open", "joblib.load", "tempfile.mktemp",
}  # fmt: skip
MODULES = {"tarfile", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# Reads what the process that started it wrote to its standard input that moment, no file.
OUR_OWN = {"benchmark/omnibench/conformance/torchless.py": {"pickle.load", "pickle.loads"}}
# Arguments by name, and the value that must not be given.
ARGUMENTS = {
    "allow_pickle": True, "trust_remote_code": True, "weights_only": False, "shell": True,
}  # fmt: skip


def faults(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            parts = name.split(".")
            method = isinstance(node.func, ast.Attribute) and parts[-1] in ("eval", "exec")
            if not method and ({parts[-1], ".".join(parts[-2:])} & CALLS):
                yield f"line {node.lineno} calls {name}"
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if keyword.arg in ARGUMENTS and value is ARGUMENTS[keyword.arg]:
                    yield f"line {node.lineno} passes {keyword.arg}={value}"
            said = any(keyword.arg == "weights_only" for keyword in node.keywords)
            if name == "torch.load" and not said:
                yield f"line {node.lineno} leaves weights_only to torch"
        elif isinstance(node, ast.Import):
            yield from (f"imports {a.name}" for a in node.names if a.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield f"imports {node.module}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_source_runs_what_it_reads(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert len(files) > 10
    for file in files:
        allowed = OUR_OWN.get(str(file.relative_to(ROOT)), set())
        found = list(faults(file.read_text(encoding="utf-8")))
        assert not [fault for fault in found if fault.split()[-1] not in allowed], file


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import pickle\npickle.load(f)",
        "zipfile.ZipFile(p).extractall(d)",
        "shutil.unpack_archive(p)",
        "import tarfile",
        "from tarfile import open",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "AutoModel.from_pretrained(n, trust_remote_code=True)",
        "subprocess.run(c, shell=True)",
        "torch.jit.load(p)",
    ],
)
def test_each_fault_would_be_seen(source: str) -> None:
    assert list(faults(source))


def test_what_only_looks_alike_is_not_called_a_fault() -> None:
    fine = "model.eval()\nnp.load(p, allow_pickle=False)\ntorch.load(p, weights_only=True)"
    assert not list(faults(fine))
