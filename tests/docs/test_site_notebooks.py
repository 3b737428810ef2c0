"""Outputs that notebooks hold are those of the code beside them, light, and of no machine; each asks and concludes."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from site_notebooks import LARGEST, LARGEST_PICTURE, WITHOUT, cells_hash, light, outdated, plain, small

PATHS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
OF_A_MACHINE = re.compile(r"/(?:tmp|home|root|work|Users)/|\b0x[0-9a-f]{6,}|\dit/s|%\|")


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_asks_concludes_and_shows_what_came_of_its_cells(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    first, last = notebook.cells[0], notebook.cells[-1]
    assert first.cell_type == last.cell_type == "markdown"
    assert re.search(r"^\*\*Question\.\*\* [^\n]*\?", first.source, re.MULTILINE)
    assert last.source.startswith("**Conclusion.** ")
    assert path.stat().st_size <= LARGEST
    if path.stem in WITHOUT:
        assert not outputs(notebook)
        assert "without outputs" in first.source
        return
    assert not outdated(notebook), f"its code has changed: python docs/_site/site_notebooks.py {path.stem[:2]}"
    pictures = [output.data["image/png"] for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert pictures
    assert max(len(base64.b64decode(picture)) for picture in pictures) <= LARGEST_PICTURE
    said = [output.get("text") or output.data.get("text/plain", "") for output in outputs(notebook)]
    assert not OF_A_MACHINE.findall("\n".join(said))


def test_other_code_has_another_hash_and_outputs_none() -> None:
    prose, code = new_markdown_cell("Is it so?"), new_code_cell("1 + 1")
    notebook = new_notebook(cells=[prose, code])
    notebook.metadata["pairalign"] = {"outputs_of": cells_hash(notebook)}
    code.outputs = [new_output("execute_result", {"text/plain": "2"})]
    prose.source = "Is it?"
    assert not outdated(notebook)
    code.source = "1 + 2"
    assert outdated(notebook)
    assert outdated(new_notebook(cells=[new_code_cell("1 + 1")]))


def test_what_belongs_to_one_run_is_taken_out() -> None:
    written = "\x1b[31mrun: /tmp/abc/tmp1x_y/run\x1b[0m, /tmp/abc\ntime: 0 min 05 s\n"
    assert plain(written, "/tmp/abc") == "run: FOLDER/run, FOLDER\ntime: (of each machine its own)\n"
    said = [new_output("stream", name=name, text=text) for name, text in [("stdout", "a"), ("stderr", "9it/s")]]
    result = new_output("execute_result", {"text/plain": "'/tmp/abc'", "text/html": "<b>"}, metadata={"took": 1})
    first, second = light([*said, new_output("stream", name="stdout", text="b"), result], "/tmp/abc")
    assert (first.name, first.text) == ("stdout", "ab")
    assert (second.data, second.metadata) == ({"text/plain": "'FOLDER'"}, {})


def test_a_picture_is_made_light_and_stays_the_picture() -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8))
    held = io.BytesIO()
    noise.save(held, "PNG")
    made = small(held.getvalue())
    assert len(made) <= LARGEST_PICTURE < len(held.getvalue())
    flat = io.BytesIO()
    half = Image.new("RGBA", (40, 20), (200, 10, 10, 255))
    half.paste((0, 0, 0, 0), (20, 0, 40, 20))
    half.save(flat, "PNG")
    again = Image.open(io.BytesIO(small(flat.getvalue()))).convert("RGB")
    assert [again.size, again.getpixel((3, 3)), again.getpixel((30, 3))] == [(40, 20), (200, 10, 10), (255, 255, 255)]
