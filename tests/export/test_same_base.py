"""A pack fits its base in other numbers, with a note, and another base in none."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from quantised_models import FORMS, llava_folder, needs
from stage_two import make_setup, short_run

from pairalign.core.config import load_config
from pairalign.core.errors import DeltaError, PackError
from pairalign.export.same_base import CELLS
from pairalign.export.sensor_pack import export_pack, install_pack, load_sensor_model, uninstall_pack
from pairalign.export.write import check_exportable
from pairalign.finetune.config import RecomposeConfig
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import Loading, SensorProcessor, load_base

LEAN: dict[str, Any] = {"train": {"steps": 1, "batch_size": 4, "accelerator": "cpu", "measure_tokens": 0}}
KINDS: dict[str, dict[str, Any]] = {
    "dormant": {"dormant": {"score": "magnitude", "structure": "rows", "density": 0.25}},
    "bridge": {"method": "bridge"},
}


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_setup(tmp_path_factory.getbasetemp().parent / "stage_two")
    llava_folder(folder / "wide")
    return folder


@pytest.fixture(scope="module")
def packs(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, made on a base in float32."""
    home, made = tmp_path_factory.mktemp("packs"), {}
    for kind, changes in KINDS.items():
        run = short_run(setup, home / f"{kind}-run", base=str(setup / "wide"), **changes, **LEAN)
        made[kind] = export_pack(run, home / kind)
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "form"), [("bfloat16", None), *(("float32", form) for form in FORMS)])
def test_it_fits_the_same_base_in_other_numbers_with_a_note(
    setup: Path, packs: dict[str, Path], kind: str, dtype: str, form: str | None
) -> None:
    if form is not None:
        needs(form)
    how = Loading(load_in=form)
    with pytest.warns(
        UserWarning, match=rf"made on .* base in float32, and this one is in .*({form or dtype}).*Measure"
    ):
        model, processor = load_sensor_model(str(setup / "wide"), [packs[kind]], dtype=dtype, loading=how)
    assert "touch" in model.sensors
    uninstall_pack(model, processor, "touch")


@pytest.mark.parametrize("kind", KINDS)
def test_in_its_own_numbers_nothing_is_said(setup: Path, packs: dict[str, Path], kind: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*Measure again.*")
        load_sensor_model(str(setup / "wide"), [packs[kind]])


@pytest.mark.parametrize("kind", KINDS)
def test_another_base_fits_in_no_numbers(setup: Path, packs: dict[str, Path], kind: str) -> None:
    llm, processor = load_base(str(setup / "wide"), "bfloat16")
    torch.manual_seed(5)
    for parameter in llm.parameters():
        parameter.data += (0.02 * parameter.float().std() * torch.randn(parameter.shape)).to(parameter.dtype)
    model, sensing = SensorModel(llm), SensorProcessor(processor, {})
    with pytest.raises(PackError, match=r"in float32\), and this LlavaFor.* in bfloat16 is another"):
        install_pack(model, sensing, packs[kind])


def test_a_delta_of_another_decoder_is_refused_behind_the_same_embeddings(setup: Path, packs: dict[str, Path]) -> None:
    llm, processor = load_base(str(setup / "wide"), "bfloat16")
    torch.manual_seed(5)
    for parameter in llm.get_decoder().layers.parameters():
        parameter.data += (0.02 * parameter.float().std() * torch.randn(parameter.shape)).nan_to_num().bfloat16()
    model, sensing = SensorModel(llm), SensorProcessor(processor, {})
    with pytest.raises(DeltaError, match="is not that of the base"):
        install_pack(model, sensing, packs["dormant"])
    assert not model.sensors


def test_a_pack_that_says_less_needs_its_own_dtype(setup: Path, packs: dict[str, Path], tmp_path: Path) -> None:
    """As those of earlier versions."""
    import json
    import shutil

    old = tmp_path / "old"
    shutil.copytree(packs["bridge"], old)
    (old / CELLS).unlink()
    told = json.loads((old / "manifest.json").read_text())
    del told["files"][CELLS]
    (old / "manifest.json").write_text(json.dumps(told))
    load_sensor_model(str(setup / "wide"), [old])
    with pytest.raises(PackError, match="is another: load that base"):
        load_sensor_model(str(setup / "wide"), [old], dtype="bfloat16")


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_made_beside_quantised_weights_fits_the_plain_ones(setup: Path, tmp_path: Path, form: str) -> None:
    needs(form)
    changes = {"base": str(setup / "wide"), "load_in": form, "dtype": "bfloat16", **KINDS["dormant"], **LEAN}
    run = short_run(setup, tmp_path / "run", **changes)
    pack = export_pack(run, tmp_path / "pack")
    with pytest.warns(UserWarning, match=rf"made on a base in {form}, and this one is in bfloat16"):
        model, _ = load_sensor_model(str(setup / "wide"), [pack])
    model.llm.merge_and_unload()


@pytest.mark.parametrize("how", ["merge", "lora"])
def test_nothing_is_merged_into_a_quantised_base(setup: Path, tmp_path: Path, how: str) -> None:
    from stage_two import values

    config = load_config(RecomposeConfig, values(setup, tmp_path / "run", load_in="int8"))
    with pytest.raises(PackError, match=rf"--{how}: the run trained beside a base in int8"):
        check_exportable(config, **{"merge": False, how: True})
