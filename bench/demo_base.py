"""Train the demo's base model on pictures and words of the built-in world, and write the folder that is shipped.

    python bench/demo_base.py --out src/pairalign/demo/base

About forty minutes on two cores. The vision tower first learns to name the factors of pictures, then everything trains
together; several questions share one picture in a conversation, so that every picture teaches all of its factors.

Note:
    The weights are kept in float16 to stay small; nothing here has ever felt a touch.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pairalign.data.world import FACTORS, VISIBLE, World
from pairalign.demo.base import build_base, build_processor
from pairalign.demo.questions import Asked, ask_kind, ask_words, kinds_of
from pairalign.schedule import warmup_cosine

SEED, OBJECTS = 1000, 20000


def main() -> None:
    """Train, measure every kind on new objects, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("src/pairalign/demo/base"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--vision-steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--objects", type=int, default=OBJECTS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model, processor, draw = build_base(), build_processor(), random.Random(args.seed)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    objects = render(args.objects, processor)
    see(model, objects, args.vision_steps, args.lr)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05, betas=(0.9, 0.98))
    bar = tqdm(range(args.steps), desc="train the base")
    for step in bar:
        optimizer.param_groups[0]["lr"] = args.lr * warmup_cosine(step, args.steps, 200)
        chosen = [objects[draw.randrange(len(objects))] for _ in range(args.batch)]
        batch = collate([conversation(*one, processor.tokenizer, draw) for one in chosen], processor.tokenizer)
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 49:
            bar.set_postfix(loss=f"{loss.item():.3f}")
        if step % 500 == 499:
            print(json.dumps(score(model, processor, 40, args.objects)))
    args.out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(args.out)
    processor.save_pretrained(args.out)
    print(json.dumps(score(model.float(), processor, 200, args.objects)))


def see(model: Any, objects: list[tuple[dict[str, str], Tensor, str]], steps: int, lr: float, batch: int = 64) -> None:
    """Train the vision tower alone to name what a picture shows, through heads that are thrown away."""
    names = VISIBLE["image"]
    tower, pixels = model.model.vision_tower, torch.stack([pixels for _, pixels, _ in objects])
    labels = torch.tensor([[FACTORS[name].index(factors[name]) for name in names] for factors, _, _ in objects])
    width = tower.config.hidden_size
    heads = torch.nn.ModuleList(torch.nn.Linear(width, len(FACTORS[name])) for name in names)
    parameters = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(2, steps), pct_start=0.1)
    bar = tqdm(range(steps), desc="train the eyes")
    for step in bar:
        index = torch.randint(0, len(pixels), (batch,))
        view = pixels[index]
        view = view.flip(3) if step % 2 else view
        view = view.roll(tuple(torch.randint(-2, 3, (2,)).tolist()), (2, 3))
        tokens = tower(pixel_values=view).last_hidden_state[:, 1:].mean(1)
        loss = sum(torch.nn.functional.cross_entropy(head(tokens), labels[index, n]) for n, head in enumerate(heads))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 199:
            right = [(h(tokens).argmax(1) == labels[index, n]).float().mean().item() for n, h in enumerate(heads)]
            bar.set_postfix({name: f"{value:.2f}" for name, value in zip(names, right, strict=True)})


def render(count: int, processor: Any, start: int = 0) -> list[tuple[dict[str, str], Tensor, str]]:
    """(factors, pixel_values (3, H, W), caption) of objects of a world that no other part of the demo uses."""
    world, found = World(seed=SEED), []
    for index in tqdm(range(start, start + count), desc="render"):
        sample = world.sample(index, None, ("image", "text"))
        pixels = processor.image_processor(sample["image"], return_tensors="pt")["pixel_values"][0]
        found.append((sample["factors"], pixels, sample["text"]))
    return found


def conversation(
    factors: dict[str, str], pixels: Tensor, caption: str, tokenizer: Any, draw: random.Random
) -> dict[str, Any]:
    """One training sequence: a picture or a caption with several questions, or words alone."""
    source = draw.choices(["image", "text", "words"], [6, 3, 1])[0]
    if source == "words":
        turns = [ask_words(draw) for _ in range(4)]
    else:
        kinds = list(kinds_of(source))
        draw.shuffle(kinds)
        turns = [ask_kind(kind, factors, draw) for kind in kinds[: draw.randint(1, 5)]]
    ids, labels = [tokenizer.bos_token_id], [-100]
    for n, turn in enumerate(turns):
        lead = {"image": "<image> " * 36, "text": f"{caption}. ", "words": ""}[source] if n == 0 else ""
        asked = tokenizer.encode(f"user: {lead}{turn.question} assistant:", add_special_tokens=False)
        answer = [*tokenizer.encode(turn.answer, add_special_tokens=False), tokenizer.eos_token_id]
        ids += [*asked, *answer]
        labels += [*[-100] * len(asked), *answer]
    return {"input_ids": ids, "labels": labels, "pixel_values": pixels if source == "image" else None}


def collate(rows: list[dict[str, Any]], tokenizer: Any) -> dict[str, Tensor]:
    """Padded on the right."""
    length = max(len(row["input_ids"]) for row in rows)

    def pad(name: str, value: int) -> Tensor:
        return torch.tensor([row[name] + [value] * (length - len(row[name])) for row in rows])

    batch = {"input_ids": pad("input_ids", tokenizer.pad_token_id), "labels": pad("labels", -100)}
    batch["attention_mask"] = torch.tensor([[n < len(r["input_ids"]) for n in range(length)] for r in rows]).long()
    pictures = [row["pixel_values"] for row in rows if row["pixel_values"] is not None]
    return batch | ({"pixel_values": torch.stack(pictures)} if pictures else {})


@torch.no_grad()
def score(model: Any, processor: Any, count: int, start: int) -> dict[str, float]:
    """Share of right answers per kind, teacher-forced to the last token, on objects from `start` on."""
    model.eval()
    draw, objects, tokenizer = random.Random(1), render(count, processor, start), processor.tokenizer
    found = {}
    for kind in [*kinds_of("image"), *kinds_of("text"), "words.order"]:
        rows = []
        for factors, pixels, caption in objects:
            turn: Asked = ask_words(draw) if kind == "words.order" else ask_kind(kind, factors, draw)
            source = kind.partition(".")[0]
            lead = {"image": "<image> " * 36, "text": f"{caption}. ", "words": ""}[source]
            asked = tokenizer.encode(f"user: {lead}{turn.question} assistant:", add_special_tokens=False)
            answer = [*tokenizer.encode(turn.answer, add_special_tokens=False), tokenizer.eos_token_id]
            ids = [tokenizer.bos_token_id, *asked, *answer]
            labels = [*[-100] * (len(ids) - len(answer)), *answer]
            rows.append({"input_ids": ids, "labels": labels, "pixel_values": pixels if source == "image" else None})
        batch = collate(rows, tokenizer)
        wanted = batch.pop("labels")[:, 1:]
        guess = model(**batch).logits.argmax(-1)[:, :-1]
        found[kind] = ((guess == wanted) | (wanted == -100)).all(1).float().mean().item()
    model.train()
    return {kind: round(value, 3) for kind, value in found.items()}


if __name__ == "__main__":
    main()
