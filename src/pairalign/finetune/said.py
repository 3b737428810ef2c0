"""Every text of a task that a base reads or is taught, sample by sample; no picture and no signal is read."""

from __future__ import annotations

from collections.abc import Iterator

from pairalign.core.errors import DataError
from pairalign.data.index import load_index
from pairalign.data.reader import RawSample
from pairalign.data.shards import read_samples
from pairalign.finetune.labels import LABEL
from pairalign.finetune.tasks import TEXTS, Task
from pairalign.sensors.prompt import FIELD


def said_texts(task: Task) -> Iterator[tuple[RawSample, bool, str]]:
    """The sample, whether it is the answer, and the text, for each text of each sample."""
    stored = load_index(task.folder).modalities
    asked = [field for field in task.asked if field not in task.sensor and set(stored[field].ext) <= TEXTS]
    asked += [LABEL] * (f"{{{LABEL}}}" in task.pieces)
    plain = [piece for piece in task.pieces if not FIELD.fullmatch(piece)]
    fields = list(dict.fromkeys(field for field in (*asked, *task.answered) if field != LABEL))
    on_bad = None if task.damaged is None else task.note
    for sample in read_samples(task.folder, task.config.split, fields, limit=task.config.limit, on_bad=on_bad):
        try:
            answers, others = task.references(sample), [text for name in asked for text in task.texts(sample, name)]
        except DataError as error:
            if task.damaged is None:
                raise
            task.note(sample.key, str(error))
            continue
        yield from ((sample, True, text) for text in answers)
        yield from ((sample, False, text) for text in (*plain, *others))
