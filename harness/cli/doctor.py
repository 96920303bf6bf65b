"""`doctor`: checks of this machine's packages, devices, models and data; a failed check says what to do."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import sys
from pathlib import Path

from harness.core.errors import UserError
from harness.core.presets import get_preset
from harness.core.process import count_cpus
from harness.core.provenance import get_version
from harness.models.e5_cache import INSTALL_E5, find_e5_file
from harness.models.source import INSTALL_MINILM, resolve

# kept as names, not imports: the check must work where a package is missing
NEEDED = tuple("torch transformers peft pydantic typer rich pandas pyarrow matplotlib scipy jinja2".split())
OPTIONAL = {"bitsandbytes": "quant"}
"""Package -> the extra of lorasp-harness that installs it."""


@dataclasses.dataclass(frozen=True)
class Check:
    """The result of one check. A failed check sets exit code 1 only if it is `needed`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True


def run_checks(data_dir: Path | None = None) -> list[Check]:
    """The results of all checks, in the order in which they are printed."""
    return [
        _check_python(),
        *_check_packages(),
        _check_device(),
        *_check_nvml(),
        _check_hub(),
        _check_embedded(),
        _check_minilm(),
        _check_e5(),
        *_check_data(data_dir),
    ]


def _check_python() -> Check:
    return Check("python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11 or newer")


def _check_packages() -> list[Check]:
    results = [Check(n, get_version(n) != "absent", get_version(n), f"pip install {n}") for n in NEEDED]
    for name, extra in OPTIONAL.items():
        remedy = f"pip install 'lorasp-harness[{extra}]'"
        results.append(Check(name, get_version(name) != "absent", get_version(name), remedy, needed=False))
    return results


def _check_device() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("device", False, "unknown without torch", "pip install torch")
    import torch

    if torch.cuda.is_available():
        return Check("device", True, torch.cuda.get_device_name())
    return Check("device", True, f"cpu, {count_cpus()} cores (no CUDA GPU is visible)")


def _check_nvml() -> list[Check]:
    """One check for NVML, which reports energy and other processes on the GPU; none without a GPU."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    from harness.core.gpu import Gpu

    if not torch.cuda.is_available():
        return []
    available = Gpu("cuda").has_nvml
    detail = "available" if available else "absent: profiles report no energy and no other processes on the GPU"
    return [Check("nvml", available, detail, "pip install nvidia-ml-py", needed=False)]


def _check_hub() -> Check:
    import http.client
    import urllib.request

    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=2.0).close()
    # ValueError and HTTPException: HF_ENDPOINT is set to text that is no address
    except (OSError, ValueError, http.client.HTTPException) as error:
        remedy = "presets small and paper need --data-dir and --model PATH"
        return Check("hub", False, f"{address} not reachable ({type(error).__name__})", remedy, needed=False)
    return Check("hub", True, address)


def _check_embedded() -> Check:
    try:
        source = resolve(get_preset("quick"), "glue", None)
    except UserError as error:
        return Check("embedded model", False, str(error), "reinstall lorasp-harness")
    return Check("embedded model", True, f"sha256 {source.ref.revision[:12]}")


def _check_minilm() -> Check:
    try:
        source = resolve(get_preset("small"), "glue", None)
    except UserError as error:
        return Check("MiniLM", False, str(error).partition(";")[0], INSTALL_MINILM, needed=False)
    return Check("MiniLM", True, f"{source.precision}, sha256 {source.ref.revision[:12]}")


def _check_e5() -> Check:
    try:
        path = find_e5_file()
    except UserError as error:
        return Check("E5", False, str(error).partition(";")[0], INSTALL_E5, needed=False)
    return Check("E5", True, f"weights of multilingual-e5-small in {path.parent}")


def _check_data(data_dir: Path | None) -> list[Check]:
    """One check per suite and task; none without a folder."""
    if data_dir is None:
        return []
    from harness.core.method import SUITES, SourceRequest
    from harness.core.registry import load_all

    load_all()
    results = []
    for name, suite in SUITES:
        for task in suite.tasks:
            try:
                data = suite().load(task, SourceRequest("data-dir", data_dir))
            except UserError as error:
                # the check's own name already says which task it is
                reason = str(error).removeprefix(f"{name}/{task}: ")
                results.append(Check(f"{name}/{task}", False, reason, "a run skips this task", needed=False))
                continue
            rows = ", ".join(f"{len(rows)} {split}" for split, rows in data.splits.items())
            results.append(Check(f"{name}/{task}", True, rows))
    return results
