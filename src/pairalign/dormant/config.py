"""The settings of dormant tuning, as one frozen dataclass that is saved beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pairalign.core.bounds import LARGEST, Amount, Positive, Strict, Whole, Within
from pairalign.core.names import Options, Text

Budget = Literal["per_row", "per_matrix", "global", "owl"]


@dataclass(frozen=True)
class DormantConfig(Strict):
    """What of which linear layers may learn a new sensor.

    Args:
        score: registered significance score; see `pairalign.dormant.significance`.
        density: dormant share, 0 to 1 excluded; n:m structures say their own.
        structure: "weights", "n:m" (for example "1:4"), "rows", "columns", "neurons"; "directions" of the inputs, which
            no score chooses; or "matrices", all of the layers that are named (the component recipes SA-proj and
            Gate&Up).
        budget: where the share is counted out: "per_row", "per_matrix", "global" or "owl"; null for per_row with
            entries and per_matrix with the rest.
        choose: "lowest" scores or least used directions; "highest" as a control. For random ones, score="random".
            "relevant": the neurons that the score itself marks, whatever the density, which score="mnaft" does;
            "random": as many neurons of each layer at random, its control.
        target_modules: which linear layers, as in PEFT; null for attention and gated MLP projections of every layer of
            the text decoder; "neurons" for MLPs of all towers, the vision tower's too.
        exclude_modules: which of these not, as in PEFT. Nothing is protected unless asked.
        layers_to_transform: numbers of the layers, as in PEFT; null for all. A negative one counts from the last.
        seed: of random scores and probes.
        options: keyword arguments of the score.
        owl_outlier: M above 0 of the "owl" budget.
        owl_spread: λ ≥ 0 of the "owl" budget.
        acts: where trained weights act. "sensor": from the first token of the sensor on, so that every prompt without
            it gets the base's logits, bit for bit; "always": everywhere, as published methods do. null: "sensor" in a
            run of stage two, "always" by `get_dormant_model` alone, which knows of no sensors.
    """

    score: Text = "magnitude"
    density: Annotated[float, Within(0, 1, open=True)] = 0.1
    structure: Text = "weights"
    budget: Budget | None = None
    choose: Literal["lowest", "highest", "relevant", "random"] = "lowest"
    target_modules: Text | tuple[Text, ...] | None = None
    exclude_modules: Text | tuple[Text, ...] | None = None
    layers_to_transform: tuple[Annotated[int, Within(-LARGEST, LARGEST, whole=True)], ...] | None = None
    seed: Whole = 0
    options: Options = field(default_factory=dict)
    owl_outlier: Positive = 5.0
    owl_spread: Amount = 0.08
    acts: Literal["sensor", "always"] | None = None

    @property
    def counted(self) -> Budget:
        """The budget, with the default of the structure filled in."""
        return self.budget or ("per_row" if self.structure == "weights" or ":" in self.structure else "per_matrix")

    def sensors_of(self, name: str) -> frozenset[str] | None:
        """The sensors from whose tokens on weights act; `None` for everywhere.

        Args:
            name: what the weights are called, "touch" or "touch+points".
        """
        return frozenset(name.split("+")) if self.acts == "sensor" else None
