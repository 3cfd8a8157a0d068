"""Superset for the end-to-end run: on this machine alone, all of its state in one folder."""

import os
from pathlib import Path

FOLDER = Path(os.environ["SUPERSET_FOLDER"])
SECRET_KEY = os.environ["SUPERSET_KEY"]
SQLALCHEMY_DATABASE_URI = f"sqlite:///{FOLDER / 'superset.db'}"
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
PREVENT_UNSAFE_DB_CONNECTIONS = False
