"""Examples that the page opens with: signals of a shard folder, each with what stage one makes of it.

Note: a sensor's signals are in the field of its name, or else in the only one that its encoder could read. A sensor of
which the shards hold nothing has no examples, which is said.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pairalign.app.session import Example, perceive
from pairalign.core.errors import DataError, SignalError
from pairalign.data.index import load_index
from pairalign.data.place import Remote
from pairalign.data.raw_samples import raw_samples
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor

COUNT = 24


def read_examples(
    model: SensorModel, processor: SensorProcessor, shards: str | Path | Remote, split: str | None, count: int = COUNT
) -> dict[str, list[Example]]:
    """At most `count` examples by sensor; raise `DataError` where no sensor of the packs has any."""
    found: dict[str, list[Example]] = {}
    why: list[str] = []
    known = load_index(shards).modalities
    for sensor, module in processor.sensors.items():
        try:
            field, values = raw_samples(module.encoder, shards, sensor if sensor in known else None, split, count)
        except (DataError, SignalError) as error:
            why.append(f"{sensor}: {error}")
            continue
        sensed = perceive(model, processor, sensor, values)
        pairs = zip(values, sensed, strict=True)
        found[sensor] = [Example(f"{field} {n + 1}", value, one) for n, (value, one) in enumerate(pairs)]
    if not found:
        raise DataError(f"--pairs {str(shards)!r} holds no signal of these packs. {' '.join(why)}")
    for line in why:
        print(f"no examples of {line}", file=sys.stderr)
    return found
