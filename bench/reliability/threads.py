"""One model asked by several threads at once: each answer and its logits as the same request gives alone.

    python bench/faults.py threads --count 400 --out reliability

Eight threads ask `count` requests each, of a model with two packs: without a sensor, with either or both, with a
picture, two prompts in a batch; a plain forward pass, `generate` with the cache, without it, and with beams; half of
them inside `disable_adapter()`. A ninth thread tries to install a pack that owns the same weights as another, which has
to be refused and to disturb nobody. Tokens and logits are compared bit for bit with those of the same request asked
alone before; a wrong answer is told by what differs, and by whose answer it was, if it was another request's. Where it
bites: one thread of OpenMP for each, since more would add up in another order.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pairalign.core.errors import PairalignError
from pairalign.data.world import World
from pairalign.export.sensor_pack import install_pack, load_sensor_model, uninstall_pack
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor
from reliability.asking import make_packs

COUNT, THREADS, TOKENS = 400, 8, 6  # requests of each thread; threads; tokens of an answer
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS}
WAYS: dict[str, dict[str, Any] | None] = {
    "forward": None,
    "cached": GREEDY,
    "uncached": {**GREEDY, "use_cache": False},
    "beams": {**GREEDY, "num_beams": 3},
}


@dataclass(frozen=True)
class Request:
    """Inputs of the model, what it is asked for with them, and whether of the base alone."""

    name: str
    inputs: dict[str, Any]
    way: dict[str, Any] | None
    base: bool

    def ask(self, model: SensorModel) -> Answer:
        """Tokens, none of a forward pass, and logits (…, vocabulary)."""
        within: Any = model.llm.disable_adapter() if self.base else nullcontext()  # type: ignore[operator]
        with torch.no_grad(), within:
            if self.way is None:
                return Answer(torch.empty(0), model(**self.inputs).logits.clone())
            options = {**self.way, "return_dict_in_generate": True, "output_logits": True}
            said = model.generate(**self.inputs, **options)
        return Answer(said.sequences, torch.stack(said.logits))


@dataclass(frozen=True)
class Answer:
    """What a request gave."""

    tokens: Tensor
    logits: Tensor

    def same(self, other: Answer) -> bool:
        """To the bit."""
        return torch.equal(self.tokens, other.tokens) and torch.equal(self.logits, other.logits)

    def differs(self, alone: Answer) -> str:
        """How it is not the answer alone."""
        if self.tokens.shape != alone.tokens.shape or self.logits.shape != alone.logits.shape:
            return f"shape {tuple(self.logits.shape)} instead of {tuple(alone.logits.shape)}"
        most = float((self.logits - alone.logits).abs().max())
        wrong = int((self.tokens != alone.tokens).sum())
        return f"{wrong} tokens differ, logits by up to {10 ** round(np.log10(most)):g}" if most else f"{wrong} tokens"


def build_requests(processor: SensorProcessor, seed: int) -> list[Request]:
    """Every prompt in every way, with the packs and as the base."""
    world = World(seed=seed)
    shown = [world.sample(n, None, ("touch", "points", "image")) for n in range(3)]
    touches, clouds = [one["touch"] for one in shown], [one["points"] for one in shown]
    asked: dict[str, list[dict[str, Any]]] = {
        "words": [{}],
        "a picture": [{"image": shown[0]["image"]}],
        "touch 0": [{"touch": touches[0]}],
        "touch 1": [{"touch": touches[1]}],
        "points 0": [{"points": clouds[0]}],
        "touch 2, points 1": [{"touch": touches[2], "points": clouds[1]}],
        "a batch: touch 0, words": [{"touch": touches[0]}, {}],
    }
    found = []
    for name, prompts in asked.items():
        inputs = _inputs(processor, prompts)
        for way, options in WAYS.items():
            for base in (False, True):
                found.append(Request(f"{name}, {way}{', base' if base else ''}", inputs, options, base))
    return found


def _inputs(processor: SensorProcessor, prompts: list[dict[str, Any]]) -> dict[str, Any]:
    talks = []
    for given in prompts:
        parts = [part for kind, value in given.items() for part in ({"type": kind, kind: value},)]
        talks.append([{"role": "user", "content": [*parts, {"type": "text", "text": "is it soft ?"}]}])
    texts = processor.apply_chat_template(talks, add_generation_prompt=True)
    signals: dict[str, list[Any]] = {}
    for talk in talks:
        for sensor, values in processor.signals_of(talk).items():
            signals.setdefault(sensor, []).extend(values)
    pictures = [given["image"] for given in prompts if "image" in given]
    return processor(
        texts, signals=signals, padding=True, padding_side="left", **({"images": pictures} if pictures else {})
    )


def measure(work: Path, count: int, seed: int) -> dict[str, Any]:
    """`count` requests of each of eight threads, compared with the same asked alone."""
    torch.set_num_threads(1)
    base, [*packs, clashing] = make_packs(work, "touch", "points", "again")
    model, processor = load_sensor_model(str(base), packs)
    requests = build_requests(processor, seed)
    alone = [request.ask(model) for request in requests]
    unsteady = [r.name for r, one in zip(requests, alone, strict=True) if not r.ask(model).same(one)]
    storm = Storm(model, requests, alone)
    changes = _storm(storm, lambda: _try_to_install(model, processor, clashing), count, seed)
    after = [r.name for r, one in zip(requests, alone, strict=True) if not r.ask(model).same(one)]
    failures = [f"alone, twice: {name} gives two answers" for name in unsteady]
    failures += [f"after the threads: {name} gives another answer" for name in after]
    failures += [f"{n} × {told}" for told, n in storm.wrong.most_common()]
    failures += [f"{n} × {told}" for told, n in changes.items() if not told.startswith("refused")]
    tried = THREADS * count + 2 * len(requests)
    return {
        "section": "threads",
        "what": f"{THREADS} threads ask one model with two packs: tokens and logits of each bit for bit as alone",
        "tried": tried,
        "held": tried - len(unsteady) - len(after) - sum(storm.wrong.values()),
        "failures": failures,
        "settings": {
            "threads": THREADS,
            "requests a thread": count,
            "kinds of requests": len(requests),
            "compared": "tokens equal, logits bit for bit",
            "torch threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
        },
        "answers of another request": storm.strangers,
        "installs and uninstalls meanwhile": dict(changes),
    }


class Storm:
    """Requests of several threads, and what was wrong with their answers."""

    def __init__(self, model: SensorModel, requests: list[Request], alone: list[Answer]) -> None:
        self.model, self.requests, self.alone = model, requests, alone
        self.wrong, self.strangers, self.lock = Counter[str](), 0, threading.Lock()

    def ask(self, number: int) -> None:
        """One request, compared."""
        request = self.requests[number]
        try:
            answer = request.ask(self.model)
        except Exception as error:
            self._note(f"{request.name}: {type(error).__name__}: {str(error).splitlines()[0][:160]}")
            return
        if answer.same(self.alone[number]):
            return
        whose = next((r.name for r, one in zip(self.requests, self.alone, strict=True) if answer.same(one)), None)
        with self.lock:
            self.strangers += whose is not None
        self._note(f"{request.name}: " + (f"the answer of {whose}" if whose else answer.differs(self.alone[number])))

    def _note(self, told: str) -> None:
        with self.lock:
            self.wrong[told] += 1


def _storm(storm: Storm, change: Callable[[], str], count: int, seed: int) -> Counter[str]:
    """Run all threads to their end; what the one that changes packs met."""
    bar, changes, over = tqdm(total=THREADS * count, unit="request"), Counter[str](), threading.Event()

    def asks(which: int) -> None:
        draw = random.Random(f"{seed} {which}")
        for _ in range(count):
            storm.ask(draw.randrange(len(storm.requests)))
            with storm.lock:
                bar.update()

    def disturbs() -> None:
        while not over.wait(0.02):
            changes[change()] += 1

    asking = [threading.Thread(target=asks, args=(n,)) for n in range(THREADS)]
    disturbing = threading.Thread(target=disturbs)
    for thread in (*asking, disturbing):
        thread.start()
    for thread in asking:
        thread.join()
    over.set()
    disturbing.join()
    bar.close()
    return changes


def _try_to_install(model: SensorModel, processor: SensorProcessor, pack: Path) -> str:
    """Install a pack whose delta is of weights that another owns: refused, and the model is as it was."""
    try:
        install_pack(model, processor, pack)
    except PairalignError as error:
        return f"refused: {type(error).__name__}"
    except Exception as error:
        return f"an install met {type(error).__name__}: {error}"
    uninstall_pack(model, processor, pack.name)
    return "a pack was installed over another's weights"
