"""The study's own instruments, against what is known exactly: mixings, worlds, R² of oracles, resuming."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from identifying import (
    FULL,
    VARIANTS,
    Block,
    Cell,
    Result,
    Study,
    StudyConfig,
    World,
    chain_world,
    draw_study,
    read_parts,
    study,
    sweep,
    train,
    variant_loss,
)
from identifying.recipe import build
from identifying.worlds import Mixing
from pairalign.core.errors import ConfigError
from pairalign.data.graph import PairGraph

TINY = StudyConfig(shared=6, private=3, hidden=16, steps=2, batch_size=16, samples=60)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Oracle(torch.nn.Module):
    """Stands in for an aligner: inverts the mixing and puts each true block where `place` says."""

    def __init__(self, world: World, place: dict[str, str], noise: float = 1.0) -> None:
        super().__init__()
        template = build(world, dataclasses.replace(TINY, shared=16, private=8), FULL, 0)
        self.world, self.place, self.graph = world, place, world.graph
        self.loss = dataclasses.replace(FULL, noise=noise)
        self.gates = template.gates
        with torch.no_grad():
            self.columns = {b.name: range(2 * i, 2 * i + 2) for i, b in enumerate(world.blocks)}
            for edge, logits in zip(self.gates.edges, self.gates.logits.values(), strict=True):
                logits.fill_(-9.0)
                for block in world.shared_on(edge):
                    logits[self.columns[block.name]] = 9.0

    def encode(self, modality: str, value: torch.Tensor, *, cached: bool = False):
        from pairalign.align.latents import Latents

        blocks = self.world.blocks_of(modality)
        latents = self.world.mixings[modality].inverse(value).split([b.size for b in blocks], dim=1)
        shared, private = torch.zeros(len(value), 16), []
        for block, z in zip(blocks, latents, strict=True):
            if self.place[block.name] == "shared":
                shared[:, self.columns[block.name]] = 3 * z
            else:
                private.append(3 * z)
        return Latents(shared, torch.cat([*private, torch.zeros(len(value), 0)], dim=1))


@pytest.mark.parametrize(("latent", "observed"), [(4, 4), (5, 9)])
def test_mixing_is_nonlinear_injective_and_invertible(latent: int, observed: int) -> None:
    mixing = Mixing(latent, observed, seeded(0))
    for i, weight in enumerate(mixing.weights):
        mixing.weights[i] = weight.double()
    z = torch.randn(500, latent, generator=seeded(1)).double()
    x = mixing(z)
    torch.testing.assert_close(mixing.inverse(x), z, rtol=0, atol=1e-5)
    design = torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], 1)
    rest = x - design @ torch.linalg.lstsq(design, x).solution
    assert 0.02 < float(rest.var() / x.var()) < 0.9
    assert abs(float(x.std()) - 1) < 0.1
    jacobian = torch.autograd.functional.jacobian(mixing, z[0])
    singular = torch.linalg.svdvals(jacobian)
    assert float(singular[0] / singular[-1]) < 0.3**-3 + 1e-6


def test_world_draws_independent_standard_normal_blocks() -> None:
    world = chain_world(3)
    sample = world.joint(20_000, seeded(0))
    z = torch.cat(list(sample.blocks.values()), dim=1)
    torch.testing.assert_close(torch.cov(z.T), torch.eye(z.shape[1]), rtol=0, atol=0.05)
    assert {m: x.shape[1] for m, x in sample.observed.items()} == {"a": 6, "b": 8, "c": 12, "d": 6}


def test_pairs_share_exactly_the_blocks_of_their_edge() -> None:
    world = chain_world(1)
    x, y = world.pairs(("b", "c"), 4000, seeded(0))
    sizes_b = {b.name: b.size for b in world.blocks_of("b")}
    sizes_c = {b.name: b.size for b in world.blocks_of("c")}
    zb = dict(zip(sizes_b, world.mixings["b"].inverse(x).split(list(sizes_b.values()), 1), strict=True))
    zc = dict(zip(sizes_c, world.mixings["c"].inverse(y).split(list(sizes_c.values()), 1), strict=True))
    for name in ("a+b+c+d", "b+c"):
        torch.testing.assert_close(zb[name], zc[name], rtol=0, atol=1e-3)
    for left in ("a+b", "b"):
        for right in ("c+d", "c"):
            cross = torch.corrcoef(torch.cat([zb[left], zc[right]], 1).T)[:2, 2:]
            assert float(cross.abs().max()) < 0.08
    again = world.pairs(("a", "b"), 4000, seeded(0))[1]
    assert not torch.equal(again[:, :2], x[:, :2])


def test_block_seen_by_two_unpaired_modalities_is_private_to_training() -> None:
    graph = PairGraph(("a", "b", "c"), (("a", "b"), ("b", "c")))
    world = World(graph, (Block(("a", "b", "c")), Block(("a", "c"))))
    assert [b.name for b in world.paired("a")] == ["a+b+c"]


def test_oracle_latents_read_one_and_zero() -> None:
    world = chain_world(0)
    place = {b.name: "private" if b.private else "shared" for b in world.blocks}
    cells = read_parts(Oracle(world, place), world, 240, seed=0)  # type: ignore[arg-type]
    for cell in cells:
        holds = (cell.kind == "shared") != (cell.part == "private")
        if cell.part != "private" and cell.kind == "private":
            holds = False
        for r2 in (cell.linear, cell.kernel):
            assert r2 > 0.9 if holds else r2 < 0.05, cell
    edge = {c.block: c for c in cells if c.modality == "b" and c.part == "a-b"}
    assert edge["b+c"].kind == "foreign"
    assert edge["a+b"].kind == "shared"
    assert edge["a+b"].dims == 4


def test_reading_sees_a_private_block_in_the_shared_part_and_a_shared_one_in_the_private() -> None:
    world = chain_world(0)
    oracle = Oracle(world, dict.fromkeys((b.name for b in world.blocks), "private"))
    cells = read_parts(oracle, world, 120, seed=0)  # type: ignore[arg-type]
    assert min(c.linear for c in cells if c.part == "private") > 0.97
    assert max(c.kernel for c in cells if c.part == "shared") == 0.0  # no dimension is in use
    leaky = Oracle(world, dict.fromkeys((b.name for b in world.blocks), "shared"))
    with torch.no_grad():
        leaky.gates.logits["a~b"].fill_(9.0)
    cells = read_parts(leaky, world, 200, seed=0)  # type: ignore[arg-type]
    found = {(c.modality, c.part, c.block): c.kernel for c in cells}
    assert found["a", "shared", "a"] > 0.9
    assert found["b", "a-b", "b+c"] > 0.9
    assert found["d", "shared", "d"] < 0.05


def test_dimensions_below_the_noise_count_only_as_faint() -> None:
    world = chain_world(0)
    oracle = Oracle(world, dict.fromkeys((b.name for b in world.blocks), "shared"), noise=100.0)
    with torch.no_grad():
        oracle.gates.logits["a~b"].fill_(9.0)
    found = {(c.modality, c.part, c.block): c.kernel for c in read_parts(oracle, world, 200, seed=0)}  # type: ignore[arg-type]
    assert found["a", "shared", "a"] == 0.0
    assert found["a", "faint", "a"] > 0.9


def test_variants_change_one_piece_of_the_recipe_each() -> None:
    assert variant_loss(FULL, "full") == FULL
    for variant, change in VARIANTS.items():
        before, after = dataclasses.asdict(FULL), dataclasses.asdict(variant_loss(FULL, variant))
        assert {key for key in before if before[key] != after[key]} == set(change)
    with pytest.raises(ConfigError, match=r"no gate.*Did you mean"):
        variant_loss(FULL, "no gate")


def test_no_gates_and_no_reconstruction_reach_the_aligner() -> None:
    world = chain_world(0)
    assert not list(build(world, TINY, variant_loss(FULL, "no gates"), 0).gates.parameters())
    assert not build(world, TINY, variant_loss(FULL, "no reconstruction"), 0).decoders


def test_training_is_deterministic_and_leaves_the_global_generator_alone() -> None:
    world = chain_world(0)
    before = torch.get_rng_state()
    one, two = (train(world, TINY, FULL, 5).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], two[key]) for key in one)
    other = train(world, TINY, FULL, 6).state_dict()
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_a_short_run_reads_more_of_the_shared_blocks_than_an_untrained_one() -> None:
    pair = PairGraph(("a", "b"), (("a", "b"),))
    world = World(pair, (Block(("a", "b"), 1), Block(("a",), 1), Block(("b",), 1)))
    sizes = dict(shared=3, private=2, hidden=32, steps=120, batch_size=128, lr=1e-2, warmup=10, ramp=120)
    config = dataclasses.replace(TINY, **sizes)
    trained = read_parts(train(world, config, FULL, 0), world, 200, seed=9)
    untrained = read_parts(build(world, config, FULL, 0).eval(), world, 200, seed=9)

    def shared(cells: list[Cell]) -> float:
        return min(c.kernel for c in cells if c.part == "shared" and c.kind == "shared")

    assert shared(trained) > 0.8
    assert shared(trained) > shared(untrained) + 0.3


def test_study_resumes_finished_runs_and_refuses_those_of_another_configuration(tmp_path, monkeypatch) -> None:
    first = study((0,), ("full",), TINY, folder=tmp_path)
    calls = []
    original = sweep.run_variant
    monkeypatch.setattr(sweep, "run_variant", lambda *a: calls.append(a[:2]) or original(*a))
    second = study((0, 1), ("full", "no gates"), TINY, folder=tmp_path)
    assert calls == [("no gates", 0), ("full", 1), ("no gates", 1)]
    assert second.results[0] == first.results[0]
    assert [(r.variant, r.seed) for r in second.results] == [
        ("full", 0),
        ("full", 1),
        ("no gates", 0),
        ("no gates", 1),
    ]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json"] * 4
    with pytest.raises(ConfigError, match="another configuration"):
        study((0,), ("full",), dataclasses.replace(TINY, steps=3), folder=tmp_path)


def test_figures_average_within_a_seed_and_name_the_worst_cell(tmp_path) -> None:
    def result(seed: int, values: dict[str, float]) -> Result:
        cells = tuple(Cell("a", "shared", name, "shared", 2, v - 0.1, v) for name, v in values.items())
        rest = (
            Cell("a", "shared", "p", "private", 2, 0.0, 0.1 * seed),
            Cell("a", "private", "p", "private", 1, 1, 1),
        )
        extra = (Cell("a", "private", "x", "shared", 1, 0, 0), Cell("a", "faint", "p", "private", 3, 0, 0.2))
        return Result("full", seed, (*cells, *rest, *extra, Cell("a", "a-b", "y", "foreign", 2, 0, 0.3)), {}, 1.0)

    made = Study(TINY, (result(0, {"x": 1.0, "y": 0.8}), result(1, {"x": 0.9, "y": 0.5})))
    figure = made.figures("full")["shared from shared"]
    assert (figure.kernel, figure.linear, figure.worst, figure.n) == pytest.approx((0.8, 0.7, 0.5, 2))
    assert figure.kernel_std == pytest.approx(math.sqrt(0.02))
    assert made.figures("full")["private from shared"].worst == pytest.approx(0.1)
    assert made.table("full")["a", "shared", "y"].kernel == pytest.approx(0.65)
    made.save(tmp_path / "new" / "study.json")
    saved = json.loads((tmp_path / "new" / "study.json").read_text())
    assert saved["variants"]["full"]["figures"]["shared from shared"]["kernel"] == pytest.approx(0.8)
    assert saved["data"] == "synthetic"
    assert "0.800 ± 0.141 (0.500; linear 0.700)" in made.text()


def test_picture_has_a_panel_per_variant(tmp_path) -> None:
    made = study((0,), ("full", "no gates"), TINY)
    figure = draw_study(made)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["full", "no gates"]
    image = figure.axes[0].images[0].get_array()
    assert image.shape == (14, 8)  # shared and private of four modalities, and both ends of three edges
    figure.savefig(tmp_path / "map.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixing(4, 3, seeded(0)), "injective"),
        (lambda: Mixing(4, 4, seeded(0), slope=0.0), "slope"),
        (lambda: World(PairGraph(("a", "b"), (("a", "b"),)), (Block(("a", "b")),) * 2), "once"),
        (lambda: World(PairGraph(("a", "b"), (("a", "b"),)), (Block(("a", "z")),)), "known modalities"),
        (lambda: World(PairGraph(("a", "b"), (("a", "b"),)), (Block(("a",)),)), "'b' sees no block"),
        (lambda: study(seeds=()), "at least one"),
    ],
)
def test_impossible_settings_are_one_clear_error(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
