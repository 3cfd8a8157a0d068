"""Open a chart of Superset in Chromium, as a user would, and save a picture of it. Run by end_to_end.py."""

import os
import shutil
import sys

from playwright.sync_api import sync_playwright

SUPERSET, CHART, PICTURE = sys.argv[1:4]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
QUIET += ["--disable-component-update", "--disable-sync"]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SIZE = {"width": 1400, "height": 800}

with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=BROWSER, args=QUIET)
    page = browser.new_page(viewport=SIZE)
    page.route(lambda url: not url.startswith((SUPERSET, "data:", "blob:")), lambda route: route.abort())
    page.goto(f"{SUPERSET}/login/")
    page.get_by_label("Username").or_(page.locator("input[name=username]")).first.fill("admin")
    page.locator("input[name=password], input[type=password]").first.fill(os.environ["SUPERSET_PASSWORD"])
    page.locator("button[type=submit], input[type=submit]").first.click()
    page.wait_for_url(lambda url: "/login" not in url)
    page.goto(f"{SUPERSET}/explore/?slice_id={CHART}")
    page.locator("canvas").first.wait_for(timeout=120_000)
    page.wait_for_timeout(3000)  # the bars grow
    page.screenshot(path=PICTURE)
    browser.close()
