"""What a user or a run writes as settings: configurations, overrides, the command line, cards."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fuzzing.change import bytes_changed, yaml_changed
from fuzzing.readers import ROOT, Door
from pairalign.core.config import AlignConfig, load_config, to_yaml
from pairalign.finetune.config import RecomposeConfig

YAML = (
    *("[", "{", "*a", "&a [*a]", "!!python/name:os.x", "!!timestamp x", "!!int x", "!!bool x", "!!float x", "!!int ''"),
    *("? ", "- [", "{a: b: c}", "\x00", "\t", "%", "@", "`", "|", ">", "'", '"', "1e999", ".nan", ".inf", "!!binary x"),
    *("<<: 1", "{<<: [1]}", "\ud800", "\x85", "0x", "0b", "1_0", "2020-99-99", "2020-01-01", "!!set {a}", "!!omap x"),
    *("!!pairs [x]", "[" * 3000, "-" * 99, "{a: 1, a: 2}", "null", "~", "true", "-1", "1.5", "[]", "{}", "[[]]", "* "),
    *("9" * 5000, "x" * 400, "é", "=", "!", "!x", "&", "!!null x", "!!seq x", "!!map x", "!!merge x", "? [a]\n: 1"),
)


def configs(folder: Path) -> dict[str, Door]:
    """Configurations of both stages: what is taken must be written and read back alike."""

    def read(cls: type[Any]) -> Callable[[bytes], object]:
        path = folder / f"{cls.__name__}.yaml"

        def one(data: bytes) -> None:
            path.write_bytes(data)
            found = load_config(cls, path)
            path.write_text(to_yaml(found), encoding="utf-8")
            again = load_config(cls, path)
            if repr(again) != repr(found):
                raise AssertionError(f"read back as {again!r}")

        return one

    home = ROOT / "configs"
    align = [path.read_bytes() for path in sorted(home.glob("*.yaml"))[:6]]
    two = [path.read_bytes() for path in sorted(home.glob("recompose/*.yaml"))[:6]]
    return {
        "align.yaml": Door(align, read(AlignConfig), yaml_changed),
        "recompose.yaml": Door(two, read(RecomposeConfig), yaml_changed),
    }


def words_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """A command line as a list of words in JSON: values of settings replaced, words dropped, doubled, or damaged."""
    words = json.loads(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(words))
        name, sign, _ = words[at].partition("=")
        kind = draw.random()
        if sign and kind < 0.6:
            words[at] = f"{name}={draw.choice(YAML)}"
        elif sign and kind < 0.8:
            changed = bytes_changed(words[at].encode("utf-8", "surrogatepass"), draw, [b"x=1"])
            words[at] = changed[:4000].decode("utf-8", "surrogateescape")
        elif kind < 0.85:
            words.insert(at, draw.choice((*YAML[:9], "x=1", "=", "--", "-x", "--quiet=1", "--x", "", ".touch=1")))
        elif len(words) > 2 and kind < 0.9 and at:
            del words[at]
        else:
            words.insert(at, words[at])
    return json.dumps(words).encode()


def told(run: Callable[[list[str]], int], words: list[str]) -> None:
    """Run a command; raise `AssertionError` unless it works, or leaves with 1 to 3 and a line on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: Any = run(words)
        except SystemExit as left:  # argparse
            code = left.code or 0
    if code not in (0, 1, 2, 3):
        raise AssertionError(f"{words}: exit code {code!r}")
    if code in (2, 3) and not err.getvalue().strip():
        raise AssertionError(f"{words}: exit code {code} and nothing on stderr")
    if "Traceback" in err.getvalue():
        raise AssertionError(f"{words}: a traceback on stderr")


def command_line(folder: Path) -> dict[str, Door]:
    """The words after `pairalign`, of verbs that write nothing, and of `data` verbs that write where they are told."""
    from fuzzing.readers.shards import make_shards
    from pairalign.cli.main import main

    make_shards(folder)
    side = "{encoder: touch_cnn, options: {size: 16, channels: 3, width: 8}}"
    (folder / "one.yaml").write_text(
        f"modalities: {{touch: {side}, image: {side}}}\nedges: [{{between: [image, touch], shards: shards}}]\n"
        "out: run\ntrain: {steps: 1, batch_size: 2, accelerator: cpu}\n"
    )
    two = sorted((ROOT / "configs" / "recompose").glob("*.yaml"))[0].read_bytes()
    (folder / "two.yaml").write_bytes(two)
    lines = [  # relative to the folder, where the process is
        ["plan", "one.yaml", "train.lr=1e-3", "edges.0.weight=2"],
        ["plan", "two.yaml", "train.lr=1e-3", "dormant.density=0.2"],
        ["encoders", "show", "touch_cnn", "size=16", "width=8"],
        ["encoders", "ls"],
        ["data", "inspect", "shards", "--split", "train", "--out", "sheet.png"],
        ["data", "audit", "shards", "--quiet"],
        ["evaluate", "run", "--pairs", "shards", "--limit", "3", "--set", "x=1"],
        ["ask", "pack", "is it soft?", "--touch", "x.png"],
    ]

    def read(data: bytes) -> None:
        words = json.loads(data)
        if any(word.startswith("out=/") or "/../" in word for word in words):
            return  # the test's folder alone
        told(main, words)

    return {"words": Door([json.dumps(line).encode() for line in lines], read, words_changed)}


def overrides(folder: Path) -> dict[str, Door]:
    """`section.key=value` laid over a configuration of either stage."""
    home = ROOT / "configs"
    one, two = sorted(home.glob("*.yaml"))[0], sorted(home.glob("recompose/*.yaml"))[0]

    def read(data: bytes) -> None:
        words = json.loads(data)
        for cls, path in ((AlignConfig, one), (RecomposeConfig, two)):
            load_config(cls, path, words)

    good = [["train.lr=1e-3"], ["seed=3", "out=run"], ["train.precision=32-true"]]
    return {"words": Door([json.dumps(words).encode() for words in good], read, words_changed)}


def cards(folder: Path) -> dict[str, Door]:
    """The card of an encoder, in a package."""
    import importlib
    import sys

    from pairalign.core.card import load_card

    package = folder / "carded"
    package.mkdir()
    (package / "__init__.py").touch()
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    good = [path.read_bytes() for path in sorted((ROOT / "encoders").glob("pairalign_*/*.yaml"))]

    def read(data: bytes) -> None:
        (package / "x.yaml").write_bytes(data)
        load_card.cache_clear()
        card = load_card("carded", "x")
        [card[name] for name in ("licence", "preprocessing", "sources")]

    return {"card.yaml": Door(good, read, yaml_changed)}


MAKES = {"configs": configs, "overrides": overrides, "command line": command_line, "cards": cards}
