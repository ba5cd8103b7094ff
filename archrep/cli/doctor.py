"""`archrep doctor`: find out what is wrong with an installation, and what to do about it."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from archrep import __version__

EXAMPLE = """\
The exit code is 1 if something is broken.

example: archrep doctor --json
"""

DATA_FILES = (
    "nasbench101.parquet",
    "nasbench101_energy.parquet",
    "nasbench101_zero_cost.parquet",
    "nasbench201.parquet",
    "nasbench201_hardware.parquet",
    "nasbench201_zero_cost.parquet",
    "nasbench301_archs.parquet",
    "nasbench301_mlp_surrogate.npz",
    "darts_trained.parquet",
)
"""Benchmark tables that ARCHREP_DATA may hold."""

ENCODERS = ("nasbench101", "nasbench201", "darts")
"""Encoders that every installation contains."""

MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "opentsne": "openTSNE"}
"""Import names that are not the package's name with underscores."""

PRETRAINED = Path(__file__).parents[1] / "encoder" / "pretrained"
REINSTALL = 'Install archrep again: pip install --force-reinstall --no-deps archrep (or -e ".").'
SPARE_BYTES = 500_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        status: `"ok"`; `"note"` for what is absent but optional; `"problem"` for what is broken.
        detail: What was found.
        fix: What to do about a problem.
    """

    name: str
    status: Literal["ok", "note", "problem"]
    detail: str
    fix: str = ""


def main(argv: list[str]) -> int:
    """Run the command; see `archrep doctor --help`."""
    parser = argparse.ArgumentParser(
        prog="archrep doctor",
        description="Check Python, packages, devices, data files and disk.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)

    found: list[Finding] = []
    for finding in examine():
        found.append(finding)
        if not args.json:
            print(_line(finding), flush=True)
    problems = [finding for finding in found if finding.status == "problem"]
    if args.json:
        findings = [asdict(finding) for finding in found]
        print(json.dumps({"healthy": not problems, "findings": findings}, indent=2))
    elif problems:
        print(f"\n{len(problems)} problem{'s' * (len(problems) > 1)}; see the lines with `->`.")
    else:
        print("\nNothing is broken.")
    return 1 if problems else 0


def _line(finding: Finding) -> str:
    mark = {"ok": "ok     ", "note": "-      ", "problem": "PROBLEM"}[finding.status]
    line = f"{mark} {finding.name:<28} {finding.detail}"
    return f"{line}\n        -> {finding.fix}" if finding.fix else line


def examine() -> Iterator[Finding]:
    """All findings, one after the other; importing torch and the rest takes some seconds."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _torchvision,
        _devices,
        _encoders,
        _tables,
        _data,
        _disk,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for check in checks:
            yield from check()


def _python() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("python", "ok", f"{platform.python_version()} on {system}, {sys.executable}")
    yield Finding("archrep", "ok", f"{__version__}, {Path(__file__).parents[1]}")


def _packages() -> Iterator[Finding]:
    """Whether each requirement is there, new enough and can be imported."""
    try:
        requirements = importlib.metadata.requires("archrep") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "packages", "problem", "archrep runs from a folder, not installed", "pip install -e ."
        )
        return
    seen: set[str] = set()  # a package of two extras is listed twice
    for requirement in requirements:
        match = re.match(r"([\w.-]+)(?:\[.*?\])?\s*([^;]*)", requirement)
        assert match is not None
        name, wanted = match[1], match[2].strip()
        optional = "extra ==" in requirement
        version = _installed_version(name)
        if name in (*seen, "archrep") or (optional and version is None):
            continue
        seen.add(name)
        if optional:
            yield Finding(name, "ok", f"{version} (optional)")
        elif version is None:
            yield Finding(name, "problem", "not installed", f'pip install "{name}{wanted}"')
        elif not _new_enough(version, wanted):
            detail = f"{version}, but archrep needs {wanted}"
            yield Finding(name, "problem", detail, f'pip install "{name}{wanted}"')
        elif error := import_error(MODULES.get(name, name.replace("-", "_"))):
            fix = f'pip install --force-reinstall --no-deps "{name}=={version}"'
            yield Finding(name, "problem", f"{version} does not import: {error}", fix)
        else:
            yield Finding(name, "ok", version)


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _new_enough(version: str, wanted: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True  # comes with matplotlib, whose absence is reported on its own
    return SpecifierSet(wanted).contains(version, prereleases=True)


def import_error(module: str) -> str:
    """Why a module cannot be imported, in one line; empty if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # broken binary packages raise RuntimeError and OSError too
        return f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
    return ""


def _torchvision() -> Iterator[Finding]:
    """A torchvision built for another torch breaks packages that import it; archrep never does."""
    version, torch_version = _installed_version("torchvision"), _installed_version("torch")
    if version is None:
        yield Finding("torchvision", "note", "not installed, not needed")
    elif error := import_error("torchvision"):
        built_for = [
            requirement
            for requirement in importlib.metadata.requires("torchvision") or []
            if re.match(r"torch\b", requirement)
        ]
        yield Finding(
            "torchvision",
            "problem",
            f"{version} (made for {' '.join(built_for) or 'another torch'}) does not import beside "
            f"torch {torch_version}: {error}",
            "pip uninstall torchvision: archrep does not need it; or install both from one source.",
        )
    else:
        yield Finding("torchvision", "ok", f"{version} beside torch {torch_version}")


def _devices() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if import_error("torch"):
        yield Finding("cpu", "ok", f"{cores} cores")
        return
    import torch

    get_capabilities = getattr(torch.cpu, "get_capabilities", dict)  # torch 2.10 and newer
    able = [name for name, has in get_capabilities().items() if "bf16" in name and has is True]
    bf16 = f"bf16 in hardware ({', '.join(sorted(able))})" if able else "no bf16 in hardware"
    yield Finding("cpu", "ok", f"{cores} cores, {torch.get_num_threads()} torch threads, {bf16}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        yield Finding("cuda", "ok", f"{torch.version.cuda}: {', '.join(names)}")
    elif torch.version.cuda:
        yield Finding("cuda", "note", f"torch is built for {torch.version.cuda}, no GPU to be seen")
    elif shutil.which("nvidia-smi"):
        detail = "this torch is a CPU build, and the machine seems to have a GPU"
        yield Finding("cuda", "note", detail, "To use it, install a CUDA build of torch.")
    else:
        yield Finding("cuda", "note", "not available, not needed")


def _encoders() -> Iterator[Finding]:
    """The encoders that come with archrep."""
    for name in ENCODERS:
        folder = PRETRAINED / name
        try:
            json.loads((folder / "config.json").read_text())
            from safetensors import safe_open

            with safe_open(folder / "weights.safetensors", "np") as weights:
                count = len(list(weights.keys()))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            yield Finding(f"encoder {name}", "problem", reason, REINSTALL)
        else:
            yield Finding(f"encoder {name}", "ok", f"{count} tensors")


def _tables() -> Iterator[Finding]:
    """The benchmark tables that `archrep query` knows."""
    from archrep.tables.registry import listing, tables_folder

    for line in listing():
        name = f"table {line['name']}"
        if "problem" in line:
            fix = f"Delete {line['file']} and import it again."
            yield Finding(name, "problem", str(line["problem"]), fix)
        else:
            size = float(str(line["bytes"])) / 1e6
            yield Finding(name, "ok", f"{line['recorded']:,} records, {size:.1f} MB")
    yield Finding("imported tables", "ok", str(tables_folder()))


def _data() -> Iterator[Finding]:
    """The published collections that tests read and `archrep tables import` takes; optional."""
    setting = os.environ.get("ARCHREP_DATA")
    if not setting:
        yield Finding("ARCHREP_DATA", "note", "not set, only needed to test real tables")
        return
    folder = Path(setting)
    if not folder.is_dir():
        fix = "Point ARCHREP_DATA at the folder with the benchmark tables, or unset it."
        yield Finding("ARCHREP_DATA", "problem", f"{folder} is not a folder", fix)
        return
    present = [name for name in DATA_FILES if (folder / name).exists()]
    detail = f"{folder}, {len(present)} of {len(DATA_FILES)} known files"
    yield Finding("ARCHREP_DATA", "ok", detail)
    for name in present:
        try:
            yield Finding(name, "ok", _open_table(folder / name))
        except Exception as error:
            reason = f"cannot be read: {error}".splitlines()[0]
            yield Finding(name, "problem", reason, f"Copy {folder / name} again.")


def _open_table(path: Path) -> str:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        metadata = pyarrow.parquet.read_metadata(path)
        return f"{metadata.num_rows:,} rows, {metadata.num_columns} columns"
    import numpy

    with numpy.load(path) as arrays:
        return f"{len(arrays.files)} arrays"


def _disk() -> Iterator[Finding]:
    """Whether files can be written, and how many."""
    for what, folder in (("temporary folder", tempfile.gettempdir()), ("this folder", os.getcwd())):
        free = shutil.disk_usage(folder).free
        detail = f"{folder}, {free / 1e9:.1f} GB free"
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            fix = "Make it writable" + (", or set TMPDIR." if what.startswith("temp") else ".")
            yield Finding(what, "problem", f"{folder}: {error.strerror}", fix)
            continue
        if free < SPARE_BYTES:
            yield Finding(what, "problem", detail, "Free some space; a run writes up to 0.1 GB.")
        else:
            yield Finding(what, "ok", detail)
