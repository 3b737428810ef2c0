"""What stands behind an address: packages that may be missing, and every reader that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from holding import descriptors, objects
from shard_servers import serving

from pairalign.core.errors import DataError
from pairalign.data.audit.survey import take_survey
from pairalign.data.index import load_index
from pairalign.data.inspect import inspect_pairs
from pairalign.data.place import Remote
from pairalign.data.remote import fetched, opening
from pairalign.data.shards import read_samples
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.tasks import Task


@pytest.mark.parametrize(
    ("address", "package"),
    [
        ("s3://b/x", r"s3:// needs s3fs: pip install 'pairalign\[s3\]'"),
        ("gs://b/x", r"gs:// needs gcsfs: pip install 'pairalign\[gcs\]'"),
        ("https://h/x", r"https:// needs aiohttp: pip install 'pairalign\[http\]'"),
        ("hf://datasets/o/n", r"hf:// needs huggingface_hub: pip install 'pairalign\[hf\]'"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(address: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("No module named it")

    monkeypatch.setattr("fsspec.filesystem", missing)
    monkeypatch.setattr("pairalign.data.remote.opening._MADE", {})
    with pytest.raises(DataError, match=package):
        load_index(address)


def test_the_hub_in_offline_mode_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairalign.data.remote.transfer.WAITS", (60.0,))
    with pytest.raises(DataError, match="offline mode"):
        load_index("hf://datasets/owner/name")


def test_a_task_of_stage_two_reads_from_an_address(packed: Path) -> None:
    with serving(packed.parent) as server:
        config = {"prompt": "what is {b}?", "answer": "{b}", "split": "train"}
        there = Task("t", TaskConfig(f"{server.url}/{packed.name}", **config), ".", ())  # type: ignore[arg-type]
        here = Task("t", TaskConfig(str(packed), **config), ".", ())  # type: ignore[arg-type]
        assert list(there.read()) == list(here.read())
        assert len(there) == 100


def test_looking_and_auditing_take_an_address(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(packed.parent) as server:
        url = f"{server.url}/{packed.name}"
        found = inspect_pairs(url, progress=False)
        assert found.sheet.resolve() == tmp_path / "contact_sheet.png"  # here, as nothing can be written there
        assert found.text.startswith(f"{packed.name}: 100 samples")
        survey = take_survey(url, progress=False)
        rows = survey.rows_of(0)[[90, 3, 40]]
        local = take_survey(packed, progress=False)
        assert list(survey.fetch(rows, "b")) == list(local.fetch(rows, "b"))


def test_a_renewed_credential_takes_the_place_of_the_old_one(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairalign.data.remote.opening._MADE", {})
    with serving(packed.parent) as server:
        list(read_samples(f"{server.url}/{packed.name}", "train", ["a"]))
        before, made = descriptors(), objects()["aiohttp.client.ClientSession"]
        for number in range(12):
            monkeypatch.setenv("AWS_SESSION_TOKEN", f"renewed {number}")
            fetched.forget_index(Remote(f"{server.url}/{packed.name}"))
            load_index(f"{server.url}/{packed.name}")
    assert len(opening._MADE) == 1
    assert objects()["aiohttp.client.ClientSession"] <= made
    assert descriptors() <= before


def test_indexes_of_addresses_that_are_signed_anew_are_forgotten(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairalign.data.remote.fetched.BELIEVED", 0.0)
    with serving(packed.parent) as server:
        for number in range(4):
            load_index(f"{server.url}/{packed.name}?signature={number}")
    assert len(fetched._INDEXES) == 1
