"""What a `sentinel://` URL says, and how Celery is told the same."""

from __future__ import annotations

import pytest

from chatq.contract.settings import Redis
from chatq.ledger.locate import broker_url
from chatq.ledger.sentinels import Sentinels
from chatq.ledger.server import shown
from for_each import for_each


@for_each(
    ("url", "means"),
    [
        ("sentinel://one", Sentinels((("one", 26379),))),
        ("sentinel://one:7000", Sentinels((("one", 7000),))),
        ("sentinel://one,two:7000", Sentinels((("one", 26379), ("two", 7000)))),
        ("sentinel://one:1;sentinel://two:2/0", Sentinels((("one", 1), ("two", 2)))),
        ("sentinel://[::1]:7000/main", Sentinels((("::1", 7000),), "main")),
        ("sentinel://one/main", Sentinels((("one", 26379),), "main")),
        ("sentinel://one/3", Sentinels((("one", 26379),), "mymaster", 3)),
        ("sentinel://one,two/main/3", Sentinels((("one", 26379), ("two", 26379)), "main", 3)),
        ("sentinel://:p%40ss@one,two", Sentinels((("one", 26379), ("two", 26379)), password="p@ss")),
        (
            "sentinel://me:p%2Fs@one:1;sentinel://me:p%2Fs@two:2/main",
            Sentinels((("one", 1), ("two", 2)), "main", username="me", password="p/s"),
        ),
    ],
)
def test_a_url_names_sentinels_master_db_and_login(url: str, means: Sentinels) -> None:
    assert Sentinels.of(Redis(url=url).url) == means


def test_celery_is_given_each_sentinel_with_the_login_and_the_master_as_an_option() -> None:
    sentinels = Sentinels.of("sentinel://me:p%2Fs@one,two:7000/main/3")
    assert sentinels.celery_url() == "sentinel://me:p%2Fs@one:26379/3;sentinel://me:p%2Fs@two:7000/3"
    assert sentinels.celery_options()["master_name"] == "main"


def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    assert Sentinels.of("sentinel://[::1]:7000").celery_url() == "sentinel://[::1]:7000/0"


@pytest.mark.parametrize(
    "url", ["sentinel://:hunter2@one,two/main", "sentinel://:hunter2@one;sentinel://:hunter2@two"]
)
def test_a_url_of_sentinels_is_shown_without_its_password(url: str) -> None:
    assert "hunter2" not in shown(url)


@for_each(
    ("written", "celerys"),
    [
        ("rediss://host", "rediss://host?ssl_cert_reqs=required"),
        ("rediss://host?ssl_ca_certs=/ca.pem", "rediss://host?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"),
        ("rediss://host?ssl_cert_reqs=none", "rediss://host?ssl_cert_reqs=none"),
        ("redis://host/2", "redis://host/2"),
        ("unix:///run/redis.sock?db=2", "redis+socket:///run/redis.sock?virtual_host=2"),
        ("amqp://host", "amqp://host"),
    ],
)
def test_celery_verifies_certificates_and_knows_sockets_by_its_own_name(written: str, celerys: str) -> None:
    assert broker_url(Redis(url="redis://ledger", broker_url=written)) == celerys
    if not written.startswith("amqp"):
        assert broker_url(Redis(url=written)) == celerys
