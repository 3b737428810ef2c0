"""Executes notebooks and keeps what came out in them, light, so that GitHub and the site show it.

    python docs/_site/site_notebooks.py            # every notebook whose code is not that which its outputs came from
    python docs/_site/site_notebooks.py 02 04      # these, whatever they hold

One thread, an empty folder, one notebook at a time. Kept are text and small pictures; a hash of the code goes into the
notebook's metadata, by which a test finds outputs of code that is no longer there.

Note:
    What two runs of the same cells do not share (times, names of temporary folders) is taken out of the text, and what
    went to stderr (progress bars, warnings of libraries) is not kept: read it where the notebook runs.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[2]
WITHOUT = {"06_a_real_language_model"}
"""Need pretrained weights that are not part of the project, and say so in their first cell."""
LARGEST, LARGEST_PICTURE = 200_000, 60_000
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TIMES = re.compile(r"^time: .*$", re.MULTILINE)


def cells_hash(notebook: Any) -> str:
    """A hash of the code that outputs come from; the prose between may be mended without running it again."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


def plain(text: str, folder: str) -> str:
    """Text without what belongs to one run: colours, the run's folder, the checkout, estimates of time."""
    text = re.sub(re.escape(folder) + r"(/tmp\w+)?", "FOLDER", _ESCAPE.sub("", text))
    return _TIMES.sub("time: (of each machine its own)", text.replace(str(ROOT), "CHECKOUT"))


def small(picture: bytes) -> bytes:
    """A picture as a PNG of 256 colours, and of fewer pixels until it is light enough."""
    drawn = Image.open(io.BytesIO(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    while True:
        held = io.BytesIO()
        image.quantize(256, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
        if held.tell() <= LARGEST_PICTURE:
            return held.getvalue()
        image = image.resize((round(image.width * 0.85), round(image.height * 0.85)), Image.Resampling.LANCZOS)


def light(outputs: list[Any], folder: str) -> list[Any]:
    """The outputs of one cell as they are kept: what was printed in one piece, results and pictures."""
    kept: list[Any] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += plain(output.text, folder)
            else:
                kept.append(nbformat.v4.new_output("stream", name="stdout", text=plain(output.text, folder)))
        else:
            output.data = _data(output.data, folder)
            output.metadata = {}
            kept.append(output)
    return kept


def _data(data: dict[str, Any], folder: str) -> dict[str, Any]:
    """A result's picture if it has one, else its text."""
    if "image/png" in data:
        picture = base64.b64decode(data["image/png"])
        return {"image/png": base64.b64encode(small(picture)).decode()}
    return {"text/plain": plain(data["text/plain"], folder)}


def execute(notebook: Any, folder: str) -> None:
    """Run every cell in `folder` and keep light outputs; an error of a cell is raised."""
    resources = {"metadata": {"path": folder}}
    NotebookClient(
        notebook, timeout=600, startup_timeout=300, kernel_name="python3", record_timing=False, resources=resources
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.metadata = light(cell.outputs, folder), {}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "pairalign": {"outputs_of": cells_hash(notebook)},
    }


def outdated(notebook: Any) -> bool:
    """Whether the outputs came from other code, or there are none."""
    return notebook.metadata.get("pairalign", {}).get("outputs_of") != cells_hash(notebook)


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="how the files' names begin; none: the outdated ones")
    names = parser.parse_args(argv).names
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        wanted = path.name.startswith(tuple(names)) if names else outdated(notebook) and path.stem not in WITHOUT
        if not wanted:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TMPDIR"] = folder
            execute(notebook, folder)
        nbformat.write(notebook, path)
        size = path.stat().st_size
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {size / 1000:.0f} kB", flush=True)
        if size > LARGEST:
            raise SystemExit(f"{path.name} has {size:,} bytes, more than {LARGEST:,}: draw less or smaller")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
