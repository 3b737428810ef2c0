"""One chat-completions endpoint, OpenAI-compatible, through the standard library alone.

    endpoint = Endpoint("https://host/v1", "model", key_variable="JUDGE_KEY")
    endpoint.ask("…")        # the reply's text

Note:
    The key is read from the environment at every request, is never stored or printed, and goes to the host that was
    named and nowhere else: a redirect is an error. Server errors, 408, 429, broken connections, timeouts and replies
    that are no completion are tried again, twice as long after every try; other refusals end at once.

    `huggingface_hub.InferenceClient` is not used for it: given another host and no key it sends the user's Hugging Face
    token there, it follows redirects, with what is asked, and it refuses a host of the same machine under
    HF_HUB_OFFLINE=1.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pairalign.core.errors import ConfigError, DataError
from pairalign.core.limits import parse_json

PATH = "/chat/completions"
TRY_AGAIN = (408, 425, 429)
LONGEST_REPLY = 2**24  # bytes
LONGEST_WAIT = 60.0  # seconds, whatever Retry-After says


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass(frozen=True)
class Endpoint:
    """url: of the API, with or without its `/chat/completions`. key_variable: environment variable that holds the key,
    `None` for an endpoint without one. timeout: seconds a request. tries: requests for one question, the first
    included. wait: seconds before the second.
    """

    url: str
    model: str
    key_variable: str | None = None
    temperature: float = 0.0
    timeout: float = 60.0
    tries: int = 5
    wait: float = 1.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            right = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port  # raises for one that is no number
        except ValueError:
            right = False
        if not right:
            raise ConfigError(f"judge url {self.url!r}: give one such as https://HOST/v1.")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigError(
                "judge url: leave names, keys and queries out of it; a key goes into an environment variable."
            )
        if self.key_variable is not None and not os.environ.get(self.key_variable):
            raise ConfigError(f"judge key: environment variable {self.key_variable!r} is not set or is empty.")
        if self.tries < 1 or self.timeout <= 0 or self.wait < 0:
            raise ConfigError(
                f"judge: tries={self.tries}, timeout={self.timeout}, wait={self.wait}: give positive ones."
            )

    @property
    def host(self) -> str:
        """Host, and port if it has one: what a result may say of the url."""
        return urlsplit(self.url).netloc

    def body(self, text: str) -> dict[str, Any]:
        """The request for one message of the user."""
        return {
            "model": self.model,
            "temperature": self.temperature,
            "messages": [{"role": "user", "content": text}],
        }

    def ask(self, text: str) -> str:
        """The reply to one message; raise `DataError` if the endpoint refuses or stays silent."""
        problem, after = "", 0.0
        for attempt in range(self.tries):
            if attempt:
                time.sleep(max(self.wait * 2 ** (attempt - 1), min(after, LONGEST_WAIT)))
            try:
                return self._request(text)
            except _PassingError as again:
                problem, after = str(again), again.after
        raise DataError(f"judge at {self.host}: {problem}, {self.tries} times: try later; what it answered is kept.")

    def _request(self, text: str) -> str:
        url = self.url.rstrip("/")
        url += "" if url.endswith(PATH) else PATH
        headers = {"Content-Type": "application/json", "User-Agent": "pairalign"}
        key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, json.dumps(self.body(text)).encode(), headers, method="POST")
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as reply:
                return _content(_read(reply, self.timeout))
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500 or error.code in TRY_AGAIN:
                    raise _PassingError(
                        f"answers HTTP {error.code}", _seconds(error.headers.get("Retry-After"))
                    ) from None
                said = " ".join(error.read(300).decode("utf-8", "replace").split())[:160]
            said = said.replace(key, "…") if key else said
            raise DataError(
                f"judge at {self.host} refuses with HTTP {error.code} ({said}): check url, model and key."
            ) from None
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            raise _PassingError(f"cannot be reached ({getattr(error, 'reason', None) or error!r})") from None


class _PassingError(Exception):
    """A failure that may pass. after: seconds that the server asked to wait."""

    def __init__(self, what: str, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


def _read(reply: http.client.HTTPResponse, seconds: float) -> bytes:
    """All of it, which may neither be endless nor drip for longer than `seconds`."""
    until, found = time.monotonic() + seconds, bytearray()
    while part := reply.read1(2**16):
        found += part
        if len(found) > LONGEST_REPLY:
            raise _PassingError(f"sends more than {LONGEST_REPLY:,} bytes")
        if time.monotonic() > until:
            raise _PassingError(f"takes more than {seconds:g} s to send its reply")
    return bytes(found)


def _content(data: bytes) -> str:
    try:
        content = parse_json(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, DataError):
        raise _PassingError("sends what is no chat completion") from None
    if not isinstance(content, str):
        raise _PassingError("sends a completion without text")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise _PassingError("sends half a character") from None
    return content


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0
