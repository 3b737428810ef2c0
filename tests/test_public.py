"""The public surface, written down: a name that goes away goes away on purpose. And importing stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pairalign

PUBLIC = [
    "AlignConfig",
    "DormantConfig",
    "DormantModel",
    "Encoder",
    "Features",
    "PairAligner",
    "PairGraph",
    "PairalignError",
    "PublishedRun",
    "RecomposeConfig",
    "SensorModel",
    "SensorPack",
    "SensorProcessor",
    "SequenceConfig",
    "Signal",
    "__version__",
    "ablate",
    "align_pairs",
    "answer",
    "convert_data",
    "create_encoder",
    "evaluate_protocol",
    "evaluate_run",
    "export_pack",
    "get_dormant_model",
    "install_pack",
    "load_aligned",
    "load_config",
    "load_plugin",
    "load_recomposed",
    "load_sensor_model",
    "measure_translation",
    "pack_pairs",
    "read_signal",
    "recompose_mllm",
    "register_bridge",
    "register_encoder",
    "register_loss",
    "teach_sequence",
    "translate",
    "uninstall_pack",
]
HEAVY = ("torch", "torch_geometric", "open_clip", "transformers", "lightning", "sklearn")


def test_the_public_names_are_these_and_all_load() -> None:
    assert sorted(pairalign.__all__) == PUBLIC
    assert all(getattr(pairalign, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pairalign.nothing  # noqa: B018


@pytest.mark.parametrize("what", ["import pairalign", "main(['--help'])", "main(['encoders', 'ls'])"])
def test_heavy_packages_are_not_loaded_before_they_are_needed(what: str) -> None:
    code = (
        "import sys\nfrom pairalign.cli.main import main\n"
        f"try:\n    {what}\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
