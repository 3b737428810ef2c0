"""lmms-eval's model `pairalign`: a base, or what any method made of it, asked by that base's own class there.

    python -m lmms_eval --model pairalign --model_args model=runs/touch,family=llava_hf --tasks mmstar --log_samples …

lmms-eval finds it where both packages are installed, by the entry point `lmms_eval.models`. model: the folder of a
finished run of stage two, or a base by hub name or folder. family: lmms-eval's name of the class for that base, which
loads it, writes prompts and reads answers; further arguments are that class's. Of a run the language model then stands
in the base's place as it was trained: full tuning, blends, LoRA, experts, dormant values, always or from a sensor on.
Source: `lmms_eval/models/registry_v2.py` and `api/model.py` of EvolvingLMMs-Lab/lmms-eval, main branch of August 2026.

Note:
    The family loads the base, and the run its own; both lie in memory for a moment. Suites show no sensor, so a bridge,
    and weights that act from their sensor on, have to score as the base does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pairalign.core.errors import ConfigError
from pairalign.evaluate.abilities.commands import is_run
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.load import load_recomposed
from pairalign.runs.folder import RunFolder
from pairalign.sensors.model import SensorModel
from pairalign.sensors.sensor import embedding_of

NAME = "pairalign"
CLASSES = {"Simple": True, "Chat": False}  # whether a class takes what lmms-eval calls simple models


class Asked(nn.Module):
    """A `SensorModel` that is asked without signals, with all else that its language model has."""

    def __init__(self, model: SensorModel) -> None:
        super().__init__()
        self.whole = model

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            whole: Any = super().__getattr__("whole")
            return getattr(whole.llm, name)

    def forward(self, **inputs: Any) -> Any:
        """As the model itself answers a prompt without a sensor."""
        return self.whole(**inputs)

    def generate(self, **inputs: Any) -> Tensor:
        """The same."""
        return self.whole.generate(**inputs)


def put_run(family: Any, folder: Path) -> None:
    """Put a run's model where an instance of an lmms-eval class has its base.

    Raises:
        ConfigError: the class keeps its model elsewhere, on several devices, or in another dtype than the run.
    """
    base, name = getattr(family, "_model", None), type(family).__name__
    if not isinstance(base, nn.Module):
        raise ConfigError(f"family: {name} keeps no model of its own in this process: take the class of the base.")
    devices = {parameter.device for parameter in base.parameters()}
    if len(devices) > 1:
        raise ConfigError(f"family: {name} spread the base over {len(devices)} devices: give device_map=cuda:0 or cpu.")
    was = embedding_of(base).weight.dtype
    family._model = base = None
    run = load_recomposed(folder, devices.pop())
    now = embedding_of(run.model.llm).weight.dtype
    if now != was:
        raise ConfigError(
            f"model={str(folder)!r} is in {str(now).removeprefix('torch.')}, and {name} loads the base in "
            f"{str(was).removeprefix('torch.')}: that would be compared, too. Give both sides dtype= of the family, or "
            "train with that `dtype`."
        )
    family._model = Asked(run.model)


def build(given: Mapping[str, Any], *, simple: bool) -> Any:
    """An instance of the family's class, with the run's model in it where `model` is a run."""
    from lmms_eval.models import get_model

    rest = dict(given)
    missing = [name for name in ("model", "family") if not rest.get(name)]
    if missing:
        raise ConfigError(f"model_args: {missing[0]} is missing: give model=RUN,family=NAME, such as family=llava_hf.")
    folder, family = Path(str(rest.pop("model"))), str(rest.pop("family"))
    if family == NAME:
        raise ConfigError(f"family={family!r}: give lmms-eval's class for the base, such as llava_hf or qwen2_5_vl.")
    if "pretrained" in rest:
        raise ConfigError("model_args: pretrained is what `model` says: leave it out.")
    trained = is_run(folder)
    base = RunFolder(folder, "recompose", RecomposeConfig).read_config().base if trained else str(folder)
    made = get_model(family, simple)(pretrained=base, **rest)
    if trained:
        put_run(made, folder)
    return made


def manifest() -> Any:
    """What lmms-eval registers."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(NAME, simple_class_path=f"{__name__}.Simple", chat_class_path=f"{__name__}.Chat")


def __getattr__(name: str) -> Any:
    if name not in CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lmms_eval.api.model import lmms
    from lmms_eval.utils import simple_parse_args_string

    def create(cls: type, arg_string: str, additional_config: Mapping[str, Any] | None = None) -> Any:
        more = {key: value for key, value in (additional_config or {}).items() if value is not None}
        return build({**simple_parse_args_string(arg_string), **more}, simple=CLASSES[name])

    parts = {"is_simple": CLASSES[name], "create_from_arg_string": classmethod(create), "__module__": __name__}
    return type(name, (lmms,), parts)
