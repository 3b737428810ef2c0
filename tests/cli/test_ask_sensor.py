"""`ask --touch.sensor MAKE`: the sensor token is told the make, and an unknown one is one clear error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from pairalign.cli.ask import name_makes, split_signals
from pairalign.core.errors import PackError
from pairalign.core.registry import create_encoder
from pairalign_touch.gel import sensor_codes


def sensors(**options: Any) -> dict[str, Any]:
    return {"touch": SimpleNamespace(encoder=create_encoder("touch_cnn", size=16, width=8, channels=4, **options))}


def test_the_encoder_is_told_the_make() -> None:
    _, given = split_signals(["--touch", "a.png", "--touch.sensor", "digit", "soft?"])
    assert given == [("touch", "a.png"), ("touch.sensor", "digit")]
    signals, known = {"touch": [Image.new("RGB", (20, 20), "red")]}, sensors(sensors=["gelsight", "digit"])
    name_makes(signals, {"touch": "digit"}, known)
    batch = known["touch"].encoder.preprocess(signals["touch"][0])[None]
    assert sensor_codes(batch).tolist() == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sensors": ["gelsight", "digit"]}, "knows gelsight, digit. Did you mean 'digit'"), ({}, "tells no makes")],
)
def test_an_unknown_make_is_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PackError, match=message):
        name_makes({"touch": []}, {"touch": "digti"}, sensors(**options))


def test_every_option_of_the_verb_is_kept_from_the_signals() -> None:
    from pairalign.cli.main import build_parser

    verbs = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    own = [name for action in verbs["ask"]._actions for name in action.option_strings]
    assert {"--load-in", "--json", "--quiet", "--plugin", "--device"} <= set(own)
    own.remove("--SENSOR")  # stands for every sensor's name
    for name in own:
        assert split_signals([name, "it", "--touch", "a.png"]) == ([name, "it"], [("touch", "a.png")])
