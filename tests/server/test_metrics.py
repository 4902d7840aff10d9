"""Monitoring: numbers for Prometheus and two answers for watchdogs, on a private address and nowhere else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from conftest import Api, Database, base_of, make_settings
from igrs_ras.api.route import Listener
from igrs_ras.metrics import RELAY_STATES, SIGN_IN_RESULTS
from igrs_ras.status import Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

if TYPE_CHECKING:
    import aiohttp
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, metrics_listen="127.0.0.1:0")


class Numbers:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.samples = [
            (sample.name, dict(sample.labels), sample.value)
            for family in read_prometheus(text)
            for sample in family.samples
        ]

    def __call__(self, name: str, **labels: str) -> float:
        return sum(
            value
            for found, given, value in self.samples
            if found == name and labels.items() <= given.items()
        )


async def scrape(ras: Ras, http: aiohttp.ClientSession) -> Numbers:
    async with http.get(base_of(ras, Listener.METRICS) + "/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        return Numbers(await response.text())


async def test_what_is_counted_is_there_from_the_start(
    ras: Ras, http: aiohttp.ClientSession
) -> None:
    numbers = await scrape(ras, http)
    assert numbers("igrs_ras_ready") == 1
    assert numbers("igrs_ras_database_failing") == 0
    assert numbers("process_open_fds") > 0
    names = {name for name, _, _ in numbers.samples}
    assert {
        "igrs_ras_sockets",
        "igrs_ras_relays_total",
        "igrs_ras_relays_open",
        "igrs_ras_relay_seconds_bucket",
        "igrs_ras_commit_jobs_bucket",
        "igrs_ras_commit_seconds_bucket",
        "igrs_ras_password_checks_waiting",
        "igrs_ras_sign_ins_total",
        "igrs_ras_events_total",
        "igrs_ras_audit_entries_total",
        "igrs_ras_audit_unsigned_entries",
        "igrs_ras_audit_unsigned_seconds",
    } <= names
    assert {
        labels["state"] for name, labels, _ in numbers.samples if name == "igrs_ras_relays_total"
    } == RELAY_STATES


async def test_requests_are_counted_by_their_routes_template(
    ras: Ras, api: Api, http: aiohttp.ClientSession
) -> None:
    for _ in range(3):
        await api("GET", "/api/v1/server")
    await api("DELETE", f"/api/v1/sites/{'ab' * 16}/members/{'cd' * 16}")
    await api("GET", "/nothing/like/this")
    await api("PROPFIND", "/api/v1/server")
    numbers = await scrape(ras, http)
    assert (
        numbers("igrs_ras_http_requests_total", route="/api/v1/server", method="GET", status="200")
        == 3
    )
    assert (
        numbers(
            "igrs_ras_http_requests_total",
            route="/api/v1/sites/{site}/members/{user}",
            status="401",
        )
        == 1
    )
    assert numbers("igrs_ras_http_requests_total", route="none", status="404") >= 1
    assert numbers("igrs_ras_http_requests_total", method="other") == 1


async def test_case_46_no_label_holds_what_a_request_brought(
    ras: Ras, api: Api, http: aiohttp.ClientSession
) -> None:
    secret = "5ec4e7"
    await api(
        "GET", f"/{secret}?{secret}={secret}", headers={"X-Forwarded-For": secret, "Host": secret}
    )
    await api("GET", f"/api/v1/sites/{secret * 5}ab", token=f"u_{secret}")
    await api("POST", "/api/v1/sessions", {"email": f"{secret}@example.org", "password": secret})
    async with http.get(base_of(ras, Listener.METRICS) + "/metrics") as response:
        text = await response.text()
    assert secret not in text
    assert not re.search(r"[0-9a-f]{32}|\d+\.\d+\.\d+\.\d+|@", text)


async def test_labels_are_few_whatever_is_counted(ras: Ras, http: aiohttp.ClientSession) -> None:
    for number in range(100):
        ras.metrics.relay_ended(f"state{number}")
        ras.metrics.sign_in(f"result{number}")
        ras.metrics.request("none", f"METHOD{number}", 200, 0.1)
    numbers = await scrape(ras, http)
    assert numbers("igrs_ras_relays_total", state="other") == 100
    assert numbers("igrs_ras_sign_ins_total", result="other") == 100
    assert len(numbers.samples) < 1000
    assert {
        labels["result"] for name, labels, _ in numbers.samples if name == "igrs_ras_sign_ins_total"
    } == {
        *SIGN_IN_RESULTS,
        "other",
    }


async def test_commits_are_counted_with_what_they_held(
    ras: Ras, http: aiohttp.ClientSession
) -> None:
    before = await scrape(ras, http)
    ras.metrics.committed(32, 0.004, 5, 64)
    after = await scrape(ras, http)
    assert after("igrs_ras_commit_jobs_sum") - before("igrs_ras_commit_jobs_sum") >= 32
    assert after("igrs_ras_events_total") - before("igrs_ras_events_total") == 5
    assert after("igrs_ras_audit_entries_total") - before("igrs_ras_audit_entries_total") == 64


async def test_a_write_shows_in_the_numbers(ras: Ras, http: aiohttp.ClientSession) -> None:
    before = (await scrape(ras, http))("igrs_ras_commit_jobs_sum")
    await ras.store.write(lambda tx: tx.now)
    assert (await scrape(ras, http))("igrs_ras_commit_jobs_sum") >= before + 1


async def test_openmetrics_is_spoken_to_who_asks_for_it(
    ras: Ras, http: aiohttp.ClientSession
) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    async with http.get(base_of(ras, Listener.METRICS) + "/metrics", headers=accept) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        families = read_openmetrics(await response.text())  # type: ignore[no-untyped-call]
        assert "igrs_ras_ready" in {family.name for family in families}


async def test_a_watchdog_is_told_whether_the_server_lives_and_is_ready(
    ras: Ras, http: aiohttp.ClientSession
) -> None:
    base = base_of(ras, Listener.METRICS)
    for path in ("/healthz", "/readyz"):
        async with http.get(base + path) as response:
            assert response.status == 200
    await ras.drain(0)
    async with http.get(base + "/healthz") as response:
        assert response.status == 200
    async with http.get(base + "/readyz") as response:
        assert response.status == 503
    assert (await scrape(ras, http))("igrs_ras_ready") == 0


async def test_nothing_else_is_served_there_and_the_numbers_nowhere_else(
    ras: Ras, api: Api, local_api: Api, http: aiohttp.ClientSession
) -> None:
    for path in ("/", "/api/v1/server", "/api/v1/sites", "/page.js"):
        async with http.get(base_of(ras, Listener.METRICS) + path) as response:
            assert response.status == 404
    for other in (api, local_api):
        assert (await other("GET", "/metrics")).status == Status.NOT_FOUND
