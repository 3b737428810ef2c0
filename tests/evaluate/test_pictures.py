"""The figures hold what they were given: bar lengths, marks, frames, orders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pairalign.core.errors import DataError
from pairalign.data.draw import PALETTE
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.pictures import EMERGENT, HIT, Neighbours, draw_gates, draw_neighbours, draw_recall
from pairalign.evaluate.report import inline_svg
from pairalign.evaluate.space_map import draw_map

IMAGE = np.random.default_rng(0).random((12, 16, 3))


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for ax in figure.axes for t in ax.texts]


def test_recall_bars_have_the_length_and_colour_of_their_scores() -> None:
    rows = {
        "image → text": {"R@1": Score(0.6, 0.5, 0.7, 10, 0.1), "R@5": Score(0.9, 0.8, 1.0, 10, 0.5)},
        "touch → text": {"R@1": Score(0.3, 0.2, 0.4, 10)},
    }
    figure = draw_recall(rows, emergent=["touch → text"])
    ax = figure.axes[0]
    assert [round(bar.get_width(), 6) for bar in ax.patches] == [0.6, 0.9, 0.3]
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [PALETTE[0], PALETTE[0], EMERGENT]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(rows)
    marks = [line.get_xdata()[0] for line in ax.lines if line.get_linewidth() == 2.2]
    assert marks == [0.1, 0.5]
    spans = [path.vertices[:, 0].tolist() for c in ax.collections for path in c.get_paths()]
    np.testing.assert_allclose(spans, [[0.5, 0.7], [0.8, 1.0], [0.2, 0.4]])
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["trained", "emergent (never paired)", "95 % interval", "chance"]


def test_neighbours_frame_and_tick_right_answers_only() -> None:
    rows = [
        Neighbours("a red cube", [IMAGE] * 3, [True, False, True]),
        Neighbours("a ball", [IMAGE], [False]),
    ]
    figure = draw_neighbours(rows, ("text", "text"), ("camera", "image"))
    assert texts(figure).count("✓") == 2
    framed = [ax for ax in figure.axes if ax.images and to_hex(ax.spines["left"].get_edgecolor()) == HIT]
    assert len(framed) == 2
    assert sum(len(ax.images) for ax in figure.axes) == 4
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["text, the query", "nearest camera", "2", "3"]


@pytest.mark.parametrize(("kind", "value"), [("points", np.eye(3)), ("series", np.eye(4)), ("image", IMAGE)])
def test_neighbours_of_any_kind_fit_their_figure(kind: str, value: np.ndarray) -> None:
    figure = draw_neighbours([Neighbours(value, [value], [True])] * 3, ("a", kind), ("b", kind))
    figure.canvas.draw()
    for ax in figure.axes:
        box = ax.get_position()
        assert box.x0 >= 0
        assert box.x1 <= 1
        assert box.y0 >= 0
        assert box.y1 < 1


def test_gates_put_shared_dimensions_first_and_count_those_in_use() -> None:
    gates = {"a-b": torch.tensor([0.0, 2, 1, 0.01, 0]), "b-c": torch.tensor([0.0, 0, 0.5, 0, 0.5])}
    figure = draw_gates(gates)
    alpha = figure.axes[0].images[0].get_array()[..., 3]
    shown = (alpha - 0.06) / 0.94
    np.testing.assert_allclose(shown, [[0.5, 1, 0, 0.005, 0], [1, 0, 1, 0, 0]], atol=1e-9)
    assert {"2 of 5"} == {t for t in texts(figure) if "of" in t}


def test_an_edge_without_open_gates_is_drawn_empty() -> None:
    assert "0 of 3" in texts(draw_gates({"a-b": torch.zeros(3)}))


def test_names_are_text_and_never_a_formula() -> None:
    broken = r"$\frac{ $"
    figures = [
        draw_recall({broken: {broken: Score(0.6, 0.5, 0.7, 10, 0.1)}}),
        draw_gates({broken: torch.ones(2)}),
        draw_map({broken: torch.eye(3)}, {broken: {broken: [broken, "a", "b"]}}),
        draw_neighbours([Neighbours(broken, [broken], [True])], (broken, "text"), (broken, "text")),
    ]
    for figure in figures:
        assert broken in inline_svg(figure)


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(DataError, match="draw_recall"):
        draw_recall({})
    with pytest.raises(DataError, match="draw_neighbours"):
        draw_neighbours([Neighbours(IMAGE, [], [])], ("a", "image"), ("b", "image"))
    with pytest.raises(DataError, match=r"widths \[2, 3\]"):
        draw_gates({"a": torch.ones(2), "b": torch.ones(3)})
