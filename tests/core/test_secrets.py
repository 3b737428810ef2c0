"""Credentials in addresses never reach what is printed or written down."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pairalign.core.config import AlignConfig, load_config, to_dict, to_yaml
from pairalign.core.secrets import hide, hide_addresses

SECRETS = ("hunter2", "AKIA5", "s3cr3t", "t0k3n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://anna:hunter2@host:81/x/a.tar", "https://***@host:81/x/a.tar"),
        ("https://t0k3n@host/x", "https://***@host/x"),
        ("https://anna:hun@ter2hunter2@host/x", "https://***@host/x"),
        ("https://h/a.tar?X-Amz-Credential=AKIA5&X-Amz-Signature=s3cr3t", None),
        ("https://h/a.tar?s3cr3t", "https://h/a.tar?***"),
        ("pipe:curl -H 'Authorization: Bearer t0k3n' https://h/a.tar", "pipe:curl ***"),
        ("pipe: AWS_SECRET_ACCESS_KEY=s3cr3t /usr/bin/aws s3 cp s3://b/a.tar -", "pipe:aws ***"),
        ("cannot open https://a:hunter2@h/x?k=s3cr3t now", "cannot open https://***@h/x?k=*** now"),
        ("s3://bucket/folder/train-{000..099}.tar", "s3://bucket/folder/train-{000..099}.tar"),
        ("what is 3:4? me@home.org", "what is 3:4? me@home.org"),
    ],
)
def test_credentials_are_hidden_and_nothing_else(text: str, shown: str | None) -> None:
    assert not any(secret in hide(text) for secret in SECRETS)
    if shown is not None:
        assert hide(text) == shown
    assert hide(hide(text)) == hide(text)


def test_only_texts_that_are_addresses_are_touched() -> None:
    told = {"prompt": "see https://h/a?b=c for it", "root": "https://a:b@h/x", "deep": [{"shards": "pipe:cat x.tar"}]}
    assert hide_addresses(told) == {
        "prompt": told["prompt"],
        "root": "https://***@h/x",
        "deep": [{"shards": "pipe:cat ***"}],
    }


def test_a_configuration_is_written_without_credentials(align_settings: dict[str, Any]) -> None:
    config = load_config(AlignConfig, align_settings, ["data.root=https://anna:hunter2@host/data?sig=s3cr3t"])
    edges = (
        dataclasses.replace(config.edges[0], shards="pipe:curl -u anna:hunter2 https://h/a.tar"),
        *config.edges[1:],
    )
    for written in (str(to_dict(dataclasses.replace(config, edges=edges))), to_yaml(config)):
        assert "***@host" in written
        assert not any(secret in written for secret in SECRETS)
