"""The aligner: encoders, heads, decoders, one gate and one temperature an edge, and stage one's loss.

    L = λ_rec (R_a + R_b)  +  λ_con C(w_ab ⊙ shared_a, w_ab ⊙ shared_b)  +  λ_norm N(latents)  +  λ_gate |w_ab|

Each term is a pure function in a file of its own; this one only puts them together.

Note:
    A decoder reads `shared` through the union of the gates of its modality's edges, so a shared dimension that no pair
    aligns carries nothing, and what is private has to live in `private`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairalign.align.contrastive import LogitScale
from pairalign.align.distributed import gather_rows
from pairalign.align.latents import AnchorHead, LatentHead, Latents
from pairalign.align.losses import check_loss, create_loss
from pairalign.align.minimal import jitter, minimal_latent
from pairalign.align.partial import EdgeGates, gated_cosine, gated_euclidean
from pairalign.align.reconstruct import build_decoder, default_kind
from pairalign.align.relation import relation_loss
from pairalign.core.config import AlignConfig, LatentConfig, LossConfig
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.data.graph import Edge, PairGraph, edge_name


class Side(NamedTuple):
    """One side of a batch of pairs.

    value: the modality's signal as `Encoder.collate` makes it, (B, …), or its cached pooled features (B, D) where
        `cached`.
    ids: (B,) int64, equal where two samples have the same content (the same caption, the same image).
    """

    value: Tensor
    ids: Tensor
    cached: bool = False

    def to(self, device: torch.device) -> Side:
        """The same on a device."""
        return Side(self.value.to(device), self.ids.to(device), self.cached)


class PairAligner(nn.Module):
    """Encoders over a pair graph, aligned by stage one.

    Args:
        encoders: by modality.
        graph: which pairs are trained.
        latent: sizes.
        loss: weights and kinds of its terms.
        heads: hidden width by modality where it is not `latent.hidden`, or "anchor".

    Note:
        A decoder reads the shared latent through the union of a modality's gates: what no edge keeps is not
        reconstructed from it.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        graph: PairGraph,
        latent: LatentConfig | None = None,
        loss: LossConfig | None = None,
        heads: Mapping[str, int | str] | None = None,
    ) -> None:
        """`heads`: hidden width of the head per modality where it differs from `latent.hidden`, or "anchor"."""
        super().__init__()
        self.graph, self.latent, self.loss = graph, latent or LatentConfig(), loss or LossConfig()
        sizes = self.latent
        self.encoders = nn.ModuleDict(dict(encoders))
        self.heads = nn.ModuleDict({name: self._head(name, (heads or {}).get(name)) for name in encoders})
        self.gates = EdgeGates(graph.edges, sizes.shared, enabled=self.loss.gates)
        names = [edge_name(edge) for edge in graph.edges]
        self.scales = nn.ModuleDict(
            {name: LogitScale(self.loss.scale, self.loss.scale_min, self.loss.scale_max) for name in names}
        )
        self.biases = create_loss(self.loss.contrastive, names)  # what it learns is called so in the files of runs
        self.decoders = nn.ModuleDict({name: self._decoder(name) for name in encoders if self._reconstructs(name)})

    def encoder(self, modality: str) -> Encoder:
        """The encoder of one modality; an unknown name is a `ConfigError`.

        Args:
            modality: its name.
        """
        if modality not in self.encoders:
            raise ConfigError(f"modality {modality!r} is not aligned.{did_you_mean(modality, list(self.encoders))}")
        encoder = self.encoders[modality]
        assert isinstance(encoder, Encoder)
        return encoder

    def encode(self, modality: str, value: Tensor, *, cached: bool = False) -> Latents:
        """A batch as latents.

        Args:
            modality: whose it is.
            value: a signal (B, …), or cached pooled features (B, D).
            cached: whether it is the latter.
        """
        pooled = self._pooled(modality, value, cached)
        return self.heads[modality](pooled)

    def embed(self, modality: str, value: Tensor, other: str, *, cached: bool = False) -> Tensor:
        """Unit vectors (B, d_s) to compare with those of another modality, over an edge or an emergent path.

        Args:
            modality: whose batch it is.
            value: as of `encode`.
            other: the modality to compare with.
            cached: as of `encode`.
        """
        shared = self.encode(modality, value, cached=cached).shared
        weights = self.path_gate(modality, other)
        return gated_cosine(weights, shared, shared)[0]

    def path_gate(self, modality: str, other: str) -> Tensor:
        """Product of the gates along the shortest path between two modalities, (d_s,).

        Args:
            modality: where it starts.
            other: where it ends.
        """
        path = self.graph.path(modality, other)
        if path is None or len(path) < 2:
            raise ConfigError(f"no path of pairs joins {modality!r} and {other!r}: they share no space.")
        return self.gates.path(self.graph.edges_along(path))

    def edge_terms(self, edge: Edge, a: Side, b: Side, *, gather: bool = False) -> dict[str, Tensor]:
        """The unweighted terms of one edge's loss: contrast, reconstruct, minimal, gate; each a scalar.

        Args:
            edge: of the graph.
            a: a batch of its first modality.
            b: the same pairs, of its second.
            gather: compare with the pairs of all processes.
        """
        pooled = {m: self.pooled(m, s) for m, s in zip(edge, (a, b), strict=True)}
        return self.pair_terms(edge, a, b, pooled, gather=gather)

    def pooled(self, modality: str, side: Side) -> Tensor:
        """What the encoder makes of one side of a batch (B, D).

        Args:
            modality: whose it is.
            side: of the batch.
        """
        return self._pooled(modality, side.value, side.cached)

    def pair_terms(
        self,
        edge: Edge,
        a: Side,
        b: Side,
        pooled: Mapping[str, Tensor],
        *,
        gather: bool = False,
        rows: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """`edge_terms` from the encoders' outputs.

        Args:
            edge: of the graph.
            a: a batch of its first modality.
            b: the same pairs, of its second.
            pooled: outputs by modality.
            gather: compare with the pairs of all processes.
            rows: is given the contrast of each pair, where the loss tells it (`EdgeLoss.rows`).
        """
        latents = {m: self.heads[m](pooled[m]) for m in edge}
        terms = self._compare(edge, latents, pooled, a.ids, b.ids, gather, rows)
        errors = [
            self._reconstruct(m, latents[m], s, pooled[m])
            for m, s in zip(edge, (a, b), strict=True)
            if m in self.decoders
        ]
        if errors:
            terms["reconstruct"] = torch.stack(errors).mean()
        if self.loss.minimal:
            learned = [z for m, z in latents.items() if not isinstance(self.heads[m], AnchorHead)]
            norms = [minimal_latent(*_whole(z, gather)) for z in learned]
            terms["minimal"] = torch.stack(norms).mean() if norms else self.gates.ones.new_zeros(())
        if self.loss.gate and self.loss.gates:
            terms["gate"] = self.gates.penalty(edge)
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of `edge_terms`, a scalar.

        Args:
            terms: by name.
        """
        return torch.stack([getattr(self.loss, name) * value for name, value in terms.items()]).sum()

    def _pooled(self, modality: str, value: Tensor, cached: bool) -> Tensor:
        encoder = self.encoder(modality)
        return value if cached else encoder(value).pooled

    def _compare(
        self,
        edge: Edge,
        latents: dict[str, Latents],
        pooled: Mapping[str, Tensor],
        ids_a: Tensor,
        ids_b: Tensor,
        gather: bool,
        rows: list[Tensor] | None,
    ) -> dict[str, Tensor]:
        """The terms that compare the two sides: contrast, and relation where one side is frozen."""
        one, other = (latents[end].shared for end in edge)
        gate = self.gates(edge)
        if self.loss.similarity == "euclidean":
            std = self.loss.noise if self.training else 0.0
            za, zb = gated_euclidean(gate, jitter(one, std), jitter(other, std))
        else:
            za, zb = gated_cosine(gate, one, other)
        name, scale = edge_name(edge), self.scales[edge_name(edge)]()
        options: dict[str, Any] = {
            "ids_a": ids_a,
            "ids_b": ids_b,
            "false_negatives": self.loss.false_negatives,
            "chunk": self.loss.chunk,
            "gather": gather,
        }
        terms = {"contrast": self.biases(name, za, zb, scale, **options)}
        if rows is not None:
            del options["gather"]
            each = self.biases.rows(name, za, zb, scale, **options)
            rows += [] if each is None else [each]
        anchors = [self._anchor(end, pooled[end]) for end in edge if self.encoder(end).frozen]
        if self.loss.relation and anchors:
            options = {"ids_a": ids_a, "ids_b": ids_b, "temperature": self.loss.relation_temperature}
            found = [relation_loss(za, zb, scale, anchor, **options) for anchor in anchors]
            terms["relation"] = torch.stack(found).mean()
        return terms

    def _anchor(self, modality: str, pooled: Tensor) -> Tensor:
        """A frozen tower's unit features, centred over the training set if its head knows that, else the batch."""
        unit, head = nn.functional.normalize(pooled, dim=1), self.heads[modality]
        return unit - (head.mean if isinstance(head, AnchorHead) else unit.mean(0))

    def decoder_input(self, modality: str, latents: Latents) -> Tensor:
        """What a decoder reads (B, d_s + d_p): `shared` through the union of its gates, and `private`.

        Args:
            modality: whose decoder.
            latents: of a batch.
        """
        shared = latents.shared * self.gates.union(modality)
        return torch.cat([shared.detach() if self.loss.detach else shared, latents.private], dim=-1)

    def _reconstruct(self, modality: str, latents: Latents, side: Side, pooled: Tensor) -> Tensor:
        latent = self.decoder_input(modality, latents)
        if self.training and self.loss.noise:
            latent = jitter(latent, self.loss.noise)
        decoder: Any = self.decoders[modality]
        target = pooled.detach() if decoder.kind == "features" else self.encoder(modality).as_float(side.value)
        error: Tensor = decoder.error(latent, target)
        return error

    def _reconstructs(self, modality: str) -> bool:
        wanted = self.loss.reconstruct > 0 and self.encoder(modality).reconstruct != "none"
        return wanted and not isinstance(self.heads[modality], AnchorHead)  # nothing there could learn from it

    def _head(self, modality: str, hidden: int | str | None) -> nn.Module:
        return build_head(self.encoder(modality), self.latent, hidden, modality)

    def _decoder(self, modality: str) -> nn.Module:
        encoder = self.encoder(modality)
        kind = encoder.reconstruct or default_kind(encoder.signal, encoder.frozen)
        size = self.latent.shared + self.latent.private
        features = encoder.vocabulary if kind == "tokens" else encoder.width
        return build_decoder(kind, encoder.signal, size, features)


def _whole(latents: Latents, gather: bool) -> tuple[Tensor, ...]:
    """The latents of all processes, where a term is no mean over samples."""
    if not gather:
        return latents
    (rows,) = gather_rows(torch.cat(latents, dim=1))
    assert rows is not None
    return rows.tensor_split([latents.shared.shape[1]], dim=1)


def build_head(encoder: Encoder, sizes: LatentConfig, hidden: int | str | None, modality: str) -> nn.Module:
    """The head of a modality, as `ModalityConfig.head` says."""
    if hidden != "anchor":
        hidden = sizes.hidden if hidden is None else int(hidden)
        return LatentHead(encoder.width, sizes.shared, sizes.private, hidden, sizes.standardise)
    if not encoder.frozen:
        raise ConfigError(f"modality {modality!r}: head='anchor' needs a frozen encoder: set tune='none'.")
    return AnchorHead(encoder.width, sizes.shared, sizes.private)


def build_aligner(config: AlignConfig, fits: Callable[[nn.Module], None] | None = None) -> PairAligner:
    """Load the plugins, create every encoder, check the graph, and put the aligner together.

    fits: is shown the aligner with all but its encoders on the meta device, before anything of it takes memory.
    """
    from pairalign.core.registry import create_encoder, load_plugin

    for plugin in config.plugins:
        load_plugin(plugin)
    check_loss(config.loss.contrastive)
    graph = config_graph(config)
    encoders = {}
    for name, modality in config.modalities.items():
        encoder = create_encoder(modality.encoder, **modality.options)
        encoder.tune(modality.tune)
        encoders[name] = encoder
    heads = {name: m.head for name, m in config.modalities.items() if m.head is not None}

    def made() -> PairAligner:
        return PairAligner(encoders, graph, config.latent, config.loss, heads)

    if fits is not None:
        with torch.device("meta"):
            fits(made())
    return made()


def config_graph(config: AlignConfig) -> PairGraph:
    """The pair graph that a configuration describes, checked."""
    graph = PairGraph(tuple(config.modalities), tuple(edge.between for edge in config.edges))
    if not graph.edges:
        raise ConfigError("edges: is empty: name at least one pair of modalities and its shards.")
    graph.check_connected(allow_disconnected=config.allow_disconnected)
    return graph
