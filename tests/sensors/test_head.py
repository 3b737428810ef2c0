"""The head reads the last tokens' hidden states in one piece, and the same logits come out."""

from __future__ import annotations

import torch
from PIL import Image
from sensing import speaking

from pairalign.finetune.collator import Collator
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.tasks import Example
from pairalign.sensors.prefix import Prefixes


def test_the_last_tokens_are_read_in_one_piece_where_logits_are_measured_alone() -> None:
    model, processor = speaking()
    shown = {"type": "touch", "touch": Image.new("RGB", (16, 16), "red")}
    parts = [{"type": "text", "text": "what colour and what shape is it? "}, shown, {"type": "text", "text": " say"}]
    batch = Collator(processor)([Example(str(n), "it", parts, answer) for n, answer in enumerate(("red", "blue"))])
    pieces: list[bool] = []
    with torch.no_grad():
        whole = model(**batch.inputs).logits[:, -batch.columns - 1 : -1]
        found, _ = answer_logits(model, batch)
        model.llm.get_output_embeddings().register_forward_pre_hook(
            lambda _, args: pieces.append(args[0].is_contiguous())
        )
        answer_logits(model, batch)
        answer_logits(model, batch, prefixes=Prefixes())
        assert pieces
        assert all(pieces)
        pieces.clear()
        model(**batch.inputs, logits_to_keep=2)
        assert pieces == [False]  # as the base itself reads it
    torch.testing.assert_close(found, whole)
