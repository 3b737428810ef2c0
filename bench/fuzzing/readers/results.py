"""What others measured or answered: lmms-eval's logs, judged replies, synonyms, and pickles that a user trusts."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch

from fuzzing.change import json_changed, lines_changed, zip_changed
from fuzzing.readers import Door


def logs(folder: Path) -> dict[str, Door]:
    """A result folder of lmms-eval, compared with a whole one."""
    from pairalign.evaluate.abilities.compare import compare_results

    name, task = "20260806_101500", "ai2d"
    results = {"results": {task: {"alias": task, "exact_match,flexible": 0.5}}, "versions": {task: 0.0}}
    results |= {"n-shot": {task: 0}, "model_name": "m"}
    rows = [{"doc_id": n, "target": "A", "input": f"question {n}", "exact_match": n % 2} for n in range(4)]
    whole = {
        f"{name}_results.json": json.dumps(results).encode(),
        f"{name}_samples_{task}.jsonl": "\n".join(map(json.dumps, rows)).encode(),
    }
    for side in ("base", "after"):
        (folder / side / "m").mkdir(parents=True)
        for file, data in whole.items():
            (folder / side / "m" / file).write_bytes(data)

    def door(file: str) -> Door:
        path = folder / "after" / "m" / file

        def read(data: bytes) -> None:
            path.write_bytes(data)
            try:
                found = compare_results(folder / "base", folder / "after")
                json.dumps(found.to_dict(), default=vars)
                str(found.table)
            finally:
                path.write_bytes(whole[file])

        return Door([whole[file]], read, json_changed if file.endswith(".json") else lines_changed)

    return {file: door(file) for file in whole}


class _Judging(BaseHTTPRequestHandler):
    data = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        self.wfile.write(self.data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def answers(folder: Path) -> dict[str, Door]:
    """Replies of a judge, from its server and from those that were kept; and a list of synonyms."""
    from pairalign.evaluate.generation.endpoint import Endpoint
    from pairalign.evaluate.generation.judge import Item, judge_answers
    from pairalign.evaluate.generation.keywords import build_lexicon, read_synonyms

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Judging)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1", "m", tries=1)
    items = [Item("a", "soft", "plush"), Item("b", "hard", "stiff")]
    good = json.dumps({"choices": [{"message": {"content": "8\nit is soft"}}]}).encode()
    _Judging.data = good
    judge_answers(items, endpoint, folder / "judge.jsonl", progress=False)
    kept = (folder / "judge.jsonl").read_bytes()

    def asked(data: bytes) -> None:
        _Judging.data = data
        (folder / "judge.jsonl").unlink(missing_ok=True)
        judge_answers(items, endpoint, folder / "judge.jsonl", progress=False)

    def read(data: bytes) -> None:
        _Judging.data = good
        (folder / "judge.jsonl").write_bytes(data)
        judge_answers(items, endpoint, folder / "judge.jsonl", progress=False)

    def synonyms(data: bytes) -> None:
        (folder / "synonyms.json").write_bytes(data)
        build_lexicon(read_synonyms(folder / "synonyms.json"))

    words = json.dumps({"soft": ["plush", "fluffy"], "hard": ["stiff"]}).encode()
    return {
        "reply": Door([good], asked, json_changed),
        "judge.jsonl": Door([kept], read, lines_changed),
        "synonyms.json": Door([words], synonyms, json_changed),
    }


def pickles(folder: Path) -> dict[str, Door]:
    """Pickled arrays of a data set that the user trusts, and its tensors."""
    from pairalign.data.convert.pickles import load_pickled_npy, load_tensor

    stream = io.BytesIO()
    np.save(stream, np.array({"a": np.arange(5.0), "b": {1, 2}}, dtype=object), allow_pickle=True)
    torch.save(torch.arange(6.0), folder / "x.pt")
    good = (folder / "x.pt").read_bytes()

    def pickled(data: bytes) -> None:
        (folder / "x.npy").write_bytes(data)
        load_pickled_npy(folder / "x.npy", trusted=True)

    def tensor(data: bytes) -> None:
        (folder / "x.pt").write_bytes(data)
        load_tensor(folder / "x.pt")

    return {"npy": Door([stream.getvalue()], pickled), "pt": Door([good], tensor, zip_changed)}


MAKES = {"lmms-eval logs": logs, "judged answers": answers, "pickles": pickles}
