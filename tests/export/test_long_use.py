"""A model that is asked again and again, and whose packs go and come: it holds no more at the end than after a few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from holding import descriptors, objects, only_newer, threads
from PIL import Image

from pairalign.export.sensor_pack import export_pack, install_pack, load_sensor_model, uninstall_pack
from pairalign.finetune.run import RecomposeRun
from pairalign.sensors.answer import ask_model

FEW = 30  # objects that libraries may make on the way; a leak makes some a request


def test_requests_and_packs_that_come_and_go_leave_nothing(setup: Path, touch: RecomposeRun, tmp_path: Path) -> None:
    pack = export_pack(touch, tmp_path / "touch")
    model, processor = load_sensor_model(str(setup / "base"), [pack])
    draw = np.random.default_rng(0)

    def ask(number: int) -> None:
        gel = Image.fromarray(draw.integers(0, 255, (48, 48, 3), dtype=np.uint8))
        given = {"touch": [gel]} if number % 2 else {}
        ask_model(model, processor, "is it soft ?", signals=given, tokens=2, num_beams=1 + number % 3)
        if number % 4 == 3:
            uninstall_pack(model, processor, "touch")
            ask_model(model, processor, "is it soft ?", tokens=1)
            install_pack(model, processor, pack)

    for number in range(8):
        ask(number)
    opened, running = descriptors(), threads()
    with only_newer():
        for number in range(4):  # so that what is installed is of those that are counted
            ask(number)
        then = objects()
        for number in range(16):
            ask(number)
        more = objects() - then
    assert more.total() < FEW, more
    assert descriptors() <= opened
    assert threads() <= running
