"""Health, metrics, traces and the log of a server, asked as their readers ask. Spec 0024."""

import json
import shutil
import urllib.error
import urllib.request

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow.flight as fl
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.servers import health
from dreamdb_arrow.servers.access import Access, Audit, read_users
from dreamdb_arrow.servers.flight_sql.messages import pack
from dreamdb_arrow.servers.flight_sql.server import FlightSqlServer, Settings
from dreamdb_arrow.servers.health import HealthServer
from dreamdb_arrow.servers.metrics import Metrics
from dreamdb_arrow.servers.telemetry import Telemetry

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def folder(tmp_path):
    ds = vd.Dataset.create(
        "hello", vd.Schema().add_scalar_int("n"), backend=tmp_path / "s", cache_dir=tmp_path / "c"
    )
    ds.append({"_anchor": [1, 2, 3], "n": [1, 2, 3]})
    return tmp_path


class Watched:
    """A server with all that can watch it."""

    def __init__(self, folder, access):
        self.space = Space(folder / "s", cache_dir=folder / "c")
        self.spans, self.numbers = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        telemetry = Telemetry(tracers, MeterProvider([self.numbers]))
        metrics = Metrics(self.space, lambda: self.server.running)
        audit = Audit(folder / "log", [metrics.heard, telemetry.heard])
        self.server = FlightSqlServer(self.space, "grpc://127.0.0.1:0", Settings(access, audit))
        self.http = HealthServer("127.0.0.1", 0, self.space, metrics.page)
        self.flight = f"grpc://127.0.0.1:{self.server.port}"
        self.url = f"http://127.0.0.1:{self.http.port}"

    def close(self):
        self.http.close()
        self.server.halt(5)
        self.server.shutdown()
        self.server.close()


@pytest.fixture
def watched(folder):
    made = Watched(folder, Access())
    yield made
    made.close()


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(watched):
    families = text_string_to_metric_families(fetch(f"{watched.url}/metrics")[1])
    return {(s.name, *(s.labels[k] for k in sorted(s.labels))): s.value for f in families for s in f.samples}


def run(watched, sql):
    with adbc.connect(watched.flight, autocommit=True) as con, con.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_health_and_other_pages(watched):
    assert fetch(f"{watched.url}/healthz") == (200, "ok\n")
    assert fetch(f"{watched.url}/readyz?x=1") == (200, "ready\n")
    assert fetch(f"{watched.url}/../etc/passwd")[0] == 404
    assert fetch(f"{watched.url}/")[0] == 404
    asked = urllib.request.Request(f"{watched.url}/healthz", method="HEAD")
    with urllib.request.urlopen(asked, timeout=5) as answer:
        assert (answer.status, answer.read(), answer.headers["Content-Length"]) == (200, b"", "3")


def test_not_ready_without_the_store(watched, folder, monkeypatch):  # 0024-R1
    monkeypatch.setattr(health, "ASKED_S", 0.0)
    shutil.rmtree(folder / "s")
    (folder / "s").write_text("no folder any more")
    status, told = fetch(f"{watched.url}/readyz")
    assert (status, told) == (503, "the Space's folder is gone\n")
    assert fetch(f"{watched.url}/healthz")[0] == 200


def test_store_is_asked_once_a_second(watched, monkeypatch):  # 0024-R1
    asked = []
    monkeypatch.setattr(type(watched.space.store), "list_refs", lambda *_: asked.append(1) or [])
    for _ in range(5):
        assert fetch(f"{watched.url}/readyz")[0] == 200
    assert len(asked) <= 2


def test_calls_and_rows_are_counted(watched):
    assert len(run(watched, "FROM hello")) == 3
    with pytest.raises(adbc_driver_manager.Error):
        run(watched, "FROM nothing")
    found = samples(watched)
    assert found["dreamdb_statement_returned_rows_total",] == 3
    assert found["dreamdb_server_calls_total", "", "run"] == 1
    assert found["rpc_server_call_duration_seconds_count", "", "run"] == 1
    failed = [key for key in found if key[:2] == ("dreamdb_server_calls_total", "InvalidInputError")]
    assert sum(found[key] for key in failed) == 1
    assert found["dreamdb_statement_active",] == 0
    assert ("dreamdb_store_requests_total", "get") in found
    assert ("dreamdb_store_io_bytes_total", "received") in found


def test_numbers_name_nobody_and_nothing(watched):  # 0024-R2
    run(watched, "SELECT 'a-secret' FROM hello")
    page = fetch(f"{watched.url}/metrics")[1]
    for word in ("a-secret", "hello", "anyone"):
        assert word not in page


def test_spans_belong_to_the_callers_trace(watched):  # 0024-R3, 0024-R4
    options = fl.FlightCallOptions(headers=[(b"traceparent", PARENT.encode())])
    asked = fl.FlightDescriptor.for_command(
        pack("CommandStatementQuery", query="SELECT 'a-secret' FROM hello")
    )
    with fl.connect(watched.flight) as client:
        info = client.get_flight_info(asked, options)
        assert client.do_get(info.endpoints[0].ticket, options).read_all().num_rows == 3
    spans = {s.name: s for s in watched.spans.get_finished_spans()}
    run_span = spans["dreamdb/run"]
    assert f"{run_span.context.trace_id:032x}" == TRACE
    assert f"{run_span.parent.span_id:016x}" == SPAN
    assert run_span.kind is SpanKind.SERVER
    assert run_span.attributes["db.response.returned_rows"] == 3
    assert run_span.attributes["db.system.name"] == "dreamdb"
    assert run_span.start_time <= run_span.end_time
    assert not any("a-secret" in str(s.attributes) for s in spans.values())


def test_failed_call_is_a_failed_span(watched):
    with pytest.raises(adbc_driver_manager.Error):
        run(watched, "SELECT error('boom') FROM hello")
    (span,) = [s for s in watched.spans.get_finished_spans() if s.name == "dreamdb/run"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"]
    assert "boom" not in str(span.attributes) + str(span.status.description)


def test_opentelemetry_has_the_same_numbers(watched):
    run(watched, "FROM hello")
    (resource,) = watched.numbers.get_metrics_data().resource_metrics
    found = {m.name: m for scope in resource.scope_metrics for m in scope.metrics}
    assert {n: m.unit for n, m in found.items()} == {
        "rpc.server.call.duration": "s",
        "dreamdb.server.calls": "{call}",
        "dreamdb.statement.returned_rows": "{row}",
    }
    (rows,) = found["dreamdb.statement.returned_rows"].data.data_points
    assert rows.value == 3


def test_log_tells_seconds_rows_and_trace(watched, folder):  # 0024-R5
    run(watched, 'SELECT n AS "a\nb" FROM hello -- \'"}\n')
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    (ran,) = [line for line in lines if line["verb"] == "run"]
    assert (ran["rows"], ran["error"], ran["seconds"] > 0) == (3, None, True)
    assert ran["what"].startswith("SELECT n")


def test_refused_callers_are_counted(folder):
    users = folder / "users"
    users.write_text("ann:read:pw\n")
    users.chmod(0o600)
    made = Watched(folder, read_users(users))
    try:
        with pytest.raises(adbc_driver_manager.Error, match="credentials"):
            run(made, "SELECT 1")
        assert samples(made)["dreamdb_server_calls_total", "unauthenticated", "refused"] >= 1
    finally:
        made.close()
