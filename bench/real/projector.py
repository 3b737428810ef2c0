"""Train the projector alone, so that the language model reads the tower's features: about 15 CPU minutes, resumable.

First the projected vectors are drawn to the embeddings of the picture's name, which needs no language model; then they
learn through the frozen one to be answered with the name, or with a sentence now and then.

Note:
    Progress is kept every `KEEP` steps, and which pictures a step sees depends on its number alone, so a run that was
    stopped goes on as if it had not been.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from pairalign.files import replacing, save_tensors
from real.pictures import DESCRIBE, NAME, Picture, caption

BATCH, RATE, KEEP, SEED = 16, 1e-3, 10, 0
DRAWN, CAPTIONS = 800, 0.2  # steps without the language model; share of sentences


@torch.no_grad()
def features(model: Any, processor: Any, root: Path, pictures: Sequence[Picture], cache: Path) -> Tensor:
    """The tower's features (N, tokens, channels) of every picture, kept in `cache`."""
    if not cache.exists():
        found = []
        for start in range(0, len(pictures), BATCH):
            images = [Image.open(root / one.path).convert("RGB") for one in pictures[start : start + BATCH]]
            pixels = processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
            found.append(model.model.vision_tower(pixels).last_hidden_state.flatten(2).mT.half().contiguous())
        save_tensors(cache, {"features": torch.cat(found)})
    return load_file(cache)["features"]


def draw_to_names(model: Any, tokenizer: Any, found: Tensor, pictures: Sequence[Picture]) -> None:
    """Projected vectors to the mean embedding of the name's tokens, told from the other names'."""
    table, projector = model.get_input_embeddings().weight.detach(), model.model.multi_modal_projector
    names = sorted({picture.name for picture in pictures})
    ids = [tokenizer(" " + name, add_special_tokens=False)["input_ids"] for name in names]
    goal, label = torch.stack([table[one].mean(0) for one in ids]), [names.index(one.name) for one in pictures]
    size, centre, label = table.square().mean().sqrt(), goal.mean(0), torch.tensor(label)
    toward = F.normalize(goal - centre, dim=-1)
    optimizer = torch.optim.AdamW(projector.parameters(), lr=RATE, weight_decay=0.01)
    draw = torch.Generator().manual_seed(SEED)
    for _ in range(DRAWN):
        at = torch.randint(len(pictures), (64,), generator=draw)
        seen = projector(found[at].float())
        told = F.cross_entropy(10 * F.normalize(seen.mean(1) - centre, dim=-1) @ toward.T, label[at])
        loss = told + ((seen - goal[label[at]][:, None]) / size).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Reader:
    """The frozen language model on a picture's vectors and a question, the start of every prompt read once."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.tokenizer = model, processor.tokenizer
        self.processor, self.decoder = processor, model.model.language_model
        start = torch.tensor([self._ids(self._prompt(NAME)[0])])
        with torch.no_grad():
            self.start = self.decoder(start, use_cache=True).past_key_values
        self.length = start.shape[1]

    def loss(self, vectors: Tensor, asked: Sequence[tuple[str, str]]) -> Tensor:
        """Mean cross-entropy of the answers' tokens."""
        from transformers import DynamicCache

        ends = [[*self._ids(answer), self.tokenizer.eos_token_id] for _, answer in asked]
        texts = [self._ids(self._prompt(question)[1]) + end for (question, _), end in zip(asked, ends, strict=True)]
        longest, cache = max(map(len, texts)), DynamicCache()
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])  # what pads stands behind all else
        for n, layer in enumerate(self.start.layers):
            cache.update(*(part.expand(len(texts), -1, -1, -1) for part in (layer.keys, layer.values)), n)
        seen = torch.cat([vectors, self.model.get_input_embeddings()(ids)], 1)
        mask = torch.ones(len(texts), self.length + seen.shape[1], dtype=torch.long)
        hidden = self.decoder(inputs_embeds=seen, attention_mask=mask, past_key_values=cache).last_hidden_state
        rows = [
            (n, vectors.shape[1] + len(text), len(end)) for n, (text, end) in enumerate(zip(texts, ends, strict=True))
        ]
        before = torch.cat([hidden[n, stop - many - 1 : stop - 1] for n, stop, many in rows])
        return F.cross_entropy(self.model.lm_head(before).float(), torch.tensor([t for end in ends for t in end]))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _prompt(self, question: str) -> tuple[str, str]:
        parts = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
        before, _, behind = text.partition("<image>")
        return before, behind


def train(model: Any, processor: Any, found: Tensor, pictures: Sequence[Picture], steps: int, kept: Path) -> None:
    """Train the model's projector in place; `kept` is where progress lies."""
    projector, began = model.model.multi_modal_projector.requires_grad_(True), time.monotonic()
    optimizer, done = torch.optim.AdamW(projector.parameters(), lr=RATE, weight_decay=0.01), 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        done = state["done"]
        projector.load_state_dict(state["projector"])
        optimizer.load_state_dict(state["optimizer"])
    else:
        draw_to_names(model, processor.tokenizer, found, pictures)
    reader, losses = Reader(model, processor), []
    for step in range(done, steps):
        draw = random.Random(f"{SEED} {step}")
        at = draw.sample(range(len(pictures)), BATCH)
        asked = [
            (DESCRIBE, caption(pictures[n].name)) if draw.random() < CAPTIONS else (NAME, pictures[n].name) for n in at
        ]
        with torch.autocast("cpu", torch.bfloat16):
            loss = reader.loss(projector(found[at].float()), asked)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 10) * (1 - 0.95 * step / steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % KEEP == 0 or step + 1 == steps:
            state = {"done": step + 1, "projector": projector.state_dict(), "optimizer": optimizer.state_dict()}
            with replacing(kept) as partial:
                torch.save(state, partial)
            mean = sum(losses[-KEEP:]) / len(losses[-KEEP:])
            print(f"projector {step + 1}/{steps}: loss {mean:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    projector.requires_grad_(False)
