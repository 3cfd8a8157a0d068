"""Superset asks a Space: real data, `dreamdb serve`, a chart through Superset's API, its picture from a real browser.

Run by `make e2e-superset` with the Python that has dreamdb_arrow; the first argument is the folder of the venv with Superset.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import dreamdb_arrow as vd
from dreamdb_arrow.demo.build import build_flights, build_weather
from dreamdb_arrow.demo.data import NYCFLIGHTS, fetch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VENV, FOLDER, PICTURE = (Path(a).absolute() for a in sys.argv[1:4])
SUPERSET = "http://127.0.0.1:28088"
FLIGHT_SQL, POSTGRES = 31338, 35433
WAIT_S = 180


def main():
    for folder in (FOLDER, PICTURE.parent):
        folder.mkdir(parents=True, exist_ok=True)
    make_space(FOLDER / "space")
    environment = superset_environment()
    make_superset(environment)
    with (
        running(serve(), os.environ | {"PYTHONPATH": str(ROOT)}, "serve"),
        running(superset(), environment, "superset"),
    ):
        wait_for(f"{SUPERSET}/health")
        show(make_chart(), environment)
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")


def make_space(space):
    """Write the flights from New York in 2013, a commit a month, unless they are there."""
    if space.exists():
        return
    files = fetch(NYCFLIGHTS, FOLDER / "downloads")
    for build in (build_flights, build_weather):
        build(space, files, None, lambda _: None)
    rows = vd.connect(space).execute("SELECT count(*) FROM flights").fetchone()[0]
    print(f"a Space of {rows} flights at {space}")


def serve():
    place = f"grpc://127.0.0.1:{FLIGHT_SQL}"
    code = "import sys; sys.argv[0] = 'dreamdb'; from dreamdb_arrow.cli import program; program()"
    served = [sys.executable, "-c", code, "serve", str(FOLDER / "space")]
    return [*served, "--flight-sql", place, "--pg", f"127.0.0.1:{POSTGRES}"]


# ---------------------------------------------------------------- Superset


def superset_environment():
    home = FOLDER / "home"
    home.mkdir(exist_ok=True)
    return os.environ | {
        "SUPERSET_FOLDER": str(home),
        "SUPERSET_KEY": secrets.token_urlsafe(32),
        "SUPERSET_PASSWORD": secrets.token_urlsafe(16),
        "SUPERSET_CONFIG_PATH": str(HERE / "superset_config.py"),
        "SUPERSET_HOME": str(home),
        "FLASK_APP": "superset",
        "PYTHONPATH": "",
    }


def make_superset(environment):
    """Make its own database again, with one user, whose password lives as long as this run."""
    shutil.rmtree(environment["SUPERSET_HOME"])
    Path(environment["SUPERSET_HOME"]).mkdir()
    names = [
        "--username",
        "admin",
        "--firstname",
        "Ann",
        "--lastname",
        "Example",
        "--email",
        "admin@localhost",
    ]
    for arguments in (
        ["db", "upgrade"],
        ["fab", "create-admin", *names, "--password", environment["SUPERSET_PASSWORD"]],
        ["init"],
    ):
        with (FOLDER / "superset-setup.log").open("ab") as log:
            subprocess.run(
                [VENV / "bin/superset", *arguments], env=environment, check=True, stdout=log, stderr=log
            )
    os.environ["SUPERSET_PASSWORD"] = environment["SUPERSET_PASSWORD"]


def superset():
    return [VENV / "bin/superset", "run", "-h", "127.0.0.1", "-p", "28088", "--with-threads"]


@contextmanager
def running(command, environment, name):
    """Run a server while the block runs; what it says goes to a file."""
    with (FOLDER / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def wait_for(url):
    end = time.monotonic() + WAIT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def ask(path, body=None, token=""):
    """Call Superset's API and return its answer."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{SUPERSET}/api/v1/{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{path}: {error.code} {error.read().decode()[:2000]}") from None


def make_chart():
    """Make a chart of flights over Flight SQL, ask for weather over the PostgreSQL wire; return the chart's number."""
    login = {"username": "admin", "password": os.environ["SUPERSET_PASSWORD"], "provider": "db"}
    token = ask("security/login", login)["access_token"]
    weather = register(f"postgresql://admin@127.0.0.1:{POSTGRES}/memory", "weather", token)
    mean = {"expressionType": "SQL", "sqlExpression": "avg(celsius)", "label": "mean"}
    print("weather over the PostgreSQL wire:", answered(weather, "origin", mean, token))
    flights = register(f"dreamdb+flightsql://127.0.0.1:{FLIGHT_SQL}", "flights", token)
    rows = answered(flights, "carrier", METRIC, token)
    assert len(rows) == 16, rows
    print("flights over Flight SQL, the latest:", max(rows, key=lambda row: row["mean delay"]))
    chart = {
        "slice_name": "Mean delay of departures from New York in 2013, by carrier",
        "viz_type": "echarts_timeseries_bar",
        "datasource_id": flights,
        "datasource_type": "table",
        "params": json.dumps(params(flights)),
    }
    return ask("chart/", chart, token)["id"]


def register(uri, table, token):
    """Register a server as a database, and one of its Refs as a dataset; return the dataset's number."""
    database = ask("database/", {"database_name": f"dreamdb {table}", "sqlalchemy_uri": uri}, token)["id"]
    tables = ask(f"database/{database}/tables/?q=(schema_name:main)", token=token)["result"]
    assert {"flights", "flights@2013-h1", "weather"} <= {t["value"] for t in tables}, tables
    made = {"database": database, "schema": "main", "table_name": table}
    return ask("dataset/", made, token)["id"]


def answered(dataset, column, metric, token):
    query = {"columns": [column], "metrics": [metric], "row_limit": 50}
    question = {"datasource": {"id": dataset, "type": "table"}, "queries": [query], "result_format": "json"}
    return ask("chart/data", question, token)["result"][0]["data"]


METRIC = {
    "expressionType": "SQL",
    "sqlExpression": "avg(dep_delay)",
    "label": "mean delay",
}


def params(dataset):
    return {
        "datasource": f"{dataset}__table",
        "viz_type": "echarts_timeseries_bar",
        "x_axis": "carrier",
        "metrics": [METRIC],
        "groupby": [],
        "row_limit": 50,
        "x_axis_sort": "mean delay",
        "x_axis_sort_asc": False,
        "y_axis_title": "minutes",
        "show_value": True,
        "show_legend": False,
        "y_axis_format": ".1f",
    }


def show(chart, environment):
    """Let a browser open the chart and save what it shows."""
    script = [VENV / "bin/python", HERE / "picture.py", SUPERSET, str(chart), str(PICTURE)]
    subprocess.run(script, check=True, env=environment)


if __name__ == "__main__":
    main()
