"""Captions that an encoder cannot tell apart, and several of one picture, are no negatives; both are said once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captioned import FIVE, config, pack, text_encoder

from pairalign.align.cache import open_or_build
from pairalign.align.captions import caption_id
from pairalign.align.contrastive import info_nce
from pairalign.align.dataset import DatasetSource, PairBatch, PairDataset, SideSource
from pairalign.align.plan import plan_run
from pairalign.align.run import align_pairs
from pairalign.core.encoder import Encoder
from pairalign.core.errors import DataError, SignalError
from pairalign.core.registry import create_encoder
from pairalign.data.captions import caption_key, several_texts
from pairalign.data.place import find_place


class Dots(Encoder):
    """Sixteen pixels of a picture."""

    def __init__(self) -> None:
        from pairalign.core.types import Signal

        super().__init__(4)
        self.signal = Signal("vector", (16,))

    def preprocess(self, raw: Any) -> torch.Tensor:
        return torch.tensor(np.asarray(raw, np.float32)[0, :, 0])


def dataset(folder: Path, text: Encoder, size: int, *, cache: Any = None, **options: Any) -> PairDataset:
    sides = {"image": SideSource("image", Dots()), "text": SideSource("text", text, cache)}
    return PairDataset([DatasetSource(find_place(folder), "train", sides)], [("image", "text")], size, **options)


def test_captions_that_are_cut_to_the_same_tokens_are_the_same(tmp_path: Path) -> None:
    texts = [f"the robot presses its finger on the red object and feels kind {n}" for n in range(3)]
    folder = pack(tmp_path / "s", [*texts, "another one"])
    for encoder, same in ((text_encoder(8), True), (text_encoder(20), False)):
        batch = next(iter(dataset(folder, encoder, 4)))
        ids = dict(zip(batch.keys, batch.b.ids.tolist(), strict=True))
        assert len({ids[f"k{n:02}"] for n in range(3)}) == (1 if same else 3)
        assert ids["k03"] not in {ids[f"k{n:02}"] for n in range(3)}


@pytest.mark.parametrize("name", ["hf_text", "openclip_text"])
def test_what_is_read_decides_and_neither_case_nor_blanks_nor_unicode_forms(name: str) -> None:
    encoder = text_encoder() if name == "hf_text" else create_encoder("openclip_text", config="tiny")
    ids = [caption_id(encoder, text, 7) for text in ("A  Café mug ", "a cafe\u0301 MUG", "ａ café mug", "a tea mug")]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    long = " ".join(f"word{n}" for n in range(40))
    assert caption_id(encoder, f"{long} one", 7) == caption_id(encoder, f"{long} two", 7)
    assert encoder.overlong(f"{long} one") > 0
    assert caption_id(encoder, {"no": "text"}, 7) == 7


def test_a_real_tokenizer_says_where_a_caption_is_cut(tmp_path: Path) -> None:
    from text_towers import SMALL, write
    from transformers import BertConfig

    write(tmp_path, BertConfig(**SMALL), "<pad>")
    encoder = create_encoder("hf_text", model=str(tmp_path), max_length=5)
    assert encoder.seen("a red soft mug ball") == "a red soft"
    assert encoder.seen("a red mug") == "a red mug"
    assert caption_id(encoder, "a red soft mug", 0) == caption_id(encoder, "A red soft ball", 0)


def test_no_gradient_pushes_apart_what_the_encoder_reads_alike(tmp_path: Path) -> None:
    texts = [f"the robot presses its finger on the red object {n}" for n in range(4)]
    batch = next(iter(dataset(pack(tmp_path / "s", texts), text_encoder(6), 4)))
    a, b = (torch.nn.functional.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
    ids: dict[str, Any] = {"ids_a": batch.a.ids, "ids_b": batch.b.ids}
    assert float(info_nce(a, b, 10.0, **ids)) == 0
    assert float(info_nce(a, b, 10.0, **ids, false_negatives="keep")) > 0


def drawn(batches: Sequence[PairBatch]) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(row.tolist())) for b in batches for key, row in zip(b.keys, b.b.value, strict=True)]


@pytest.mark.parametrize("augment", [True, False])
def test_one_of_several_captions_is_drawn_in_each_epoch_by_the_seed(tmp_path: Path, augment: bool) -> None:
    encoder, folder = text_encoder(), pack(tmp_path / "s", [FIVE] * 4)
    rows = {tuple(encoder.preprocess(text).tolist()): text for text in FIVE}
    settings = {"seed": 3, "augment": augment}
    found = drawn(list(itertools.islice(dataset(folder, encoder, 4, **settings), 50)))
    for key in ("k00", "k03"):
        counts = Counter(rows[row] for name, row in found if name == key)
        assert set(counts) == set(FIVE)
        assert sum(counts.values()) == 50
    assert found == drawn(list(itertools.islice(dataset(folder, encoder, 4, **settings), 50)))
    other = {**settings, "seed": 4}
    assert sorted(found) != sorted(drawn(list(itertools.islice(dataset(folder, encoder, 4, **other), 50))))
    held = drawn(list(dataset(folder, encoder, 4, train=False)))
    assert {rows[row] for _, row in held} == {FIVE[0]}


def test_a_frozen_tower_s_cache_holds_every_caption(tmp_path: Path) -> None:
    encoder, folder = text_encoder().eval(), pack(tmp_path / "s", [FIVE, FIVE[:2], ["only one"], FIVE[1:]])
    encoder.tune("none")
    cache = open_or_build(tmp_path / "cache", encoder, {}, folder, "train", "text", progress=False)
    assert cache.features.shape == (4, 5, 16)
    texts = dict(zip(("k00", "k01", "k02", "k03"), (FIVE, FIVE[:2], ["only one"], FIVE[1:]), strict=True))
    for key, own in texts.items():
        for place in range(7):
            with torch.no_grad():
                expected = encoder(encoder.preprocess(own[place % len(own)])[None]).pooled[0]
            for generator in (None, torch.Generator().manual_seed(place)):
                torch.testing.assert_close(cache.view(key, generator, place), expected, atol=1e-5, rtol=0)
            assert cache.content(key, place, 0) == caption_id(encoder, own[place % len(own)], 0)
    cached, plain = (list(itertools.islice(dataset(folder, encoder, 4, cache=c, seed=1), 30)) for c in (cache, None))
    for one, other in zip(cached, plain, strict=True):
        assert one.keys == other.keys
        assert one.b.ids.equal(other.b.ids)
        with torch.no_grad():
            torch.testing.assert_close(one.b.value, encoder(other.b.value).pooled, atol=1e-5, rtol=0)


def test_rows_of_one_picture_are_no_negatives(tmp_path: Path) -> None:
    folder = pack(tmp_path / "s", FIVE, images=[1, 1, 1, 1, 2])
    batch = next(iter(dataset(folder, text_encoder(), 5)))
    ids = dict(zip(batch.keys, batch.a.ids.tolist(), strict=True))
    assert len({ids[f"k{n:02}"] for n in range(4)}) == 1
    assert ids["k04"] != ids["k00"]


def test_plan_and_align_say_once_how_many_are_cut_and_what_several_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = " ".join(f"word{n}" for n in range(12))
    pack(tmp_path / "s", [[*FIVE, long]] * 3 + ["a mug"])
    said = "3 of 19 captions of the training split are longer than the 8 tokens that the encoder reads, by up to 4"
    assert sum(said in note for note in plan_run(config(tmp_path)).notes) == 1
    align_pairs(config(tmp_path), progress=False)
    errors = capsys.readouterr().err
    assert errors.count(said) == 1
    assert errors.count("a sample has up to 6 captions: one is drawn in each epoch by the seed") == 1


@pytest.mark.parametrize("tune", ["all", "none"])
def test_a_caption_that_cannot_be_read_is_a_damaged_sample_by_name(
    tmp_path: Path, tune: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(tmp_path / "s", ["a mug", "a ball", "a cloth", "odd", "a cup", "one more", "and another"])
    monkeypatch.setattr(  # of shards of another writer
        "pairalign.data.decode.DECODERS", _decoders(lambda data: "a \ud83d mug" if data == b"odd" else data.decode())
    )
    align_pairs(config(tmp_path, tune, bad_fraction=0.5), progress=False)
    assert "image-text k03" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"data\.bad_fraction=0\.0 allows\. First: k03: .*lone surrogate"):
        align_pairs(config(tmp_path, tune, bad_fraction=0.0), progress=False, fresh=True)


def _decoders(text: Any) -> dict[str, Any]:
    from pairalign.data.decode import DECODERS

    return {**DECODERS, "txt": text}


def test_a_cache_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    class Picky(Dots):
        """Refuses one picture."""

        def preprocess(self, raw: Any) -> torch.Tensor:
            if np.asarray(raw)[0, 0, 0] == first:
                raise SignalError("too dark")
            return super().preprocess(raw)

        def forward(self, batch: torch.Tensor) -> Any:
            from pairalign.core.types import Features

            return Features(batch[:, None, :4], batch[:, :4])

    folder = pack(tmp_path / "s", FIVE)
    first = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)[0, 0, 0]
    encoder = Picky()
    cache = open_or_build(tmp_path / "cache", encoder, {}, folder, "train", "image", progress=False)
    assert cache.features.shape == (4, 1, 4)
    with pytest.raises(SignalError, match="too dark"):
        cache.view("k01", None)
    again = open_or_build(tmp_path / "cache", encoder, {}, folder, "train", "image", progress=False)
    assert again.bad == {"k01": "too dark"}
    assert np.isfinite(again.features).all()


def test_several_texts_in_every_form_that_they_are_stored_in() -> None:
    assert several_texts(["a", "b"]) == several_texts({"frames": ["a", "b"]}) == several_texts({"value": ["a", "b"]})
    for none in ("a", [], [1, 2], {"value": "a"}, {"a": ["b"]}, None):
        assert several_texts(none) is None
    assert caption_key("  A\tCAFE\u0301 ½ ") == "a café 1⁄2"
