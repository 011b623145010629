#!/usr/bin/env python3
"""Looks at pages of `evalkit report` in a browser, as a phone, a laptop and a wall would show them.

    pages.py SCREENSHOTS FOLDER...     each FOLDER holds report.html and report.json

At 400, 1000 and 1600 pixels, light and dark: no message on the console, no request but for the page
itself, no horizontal scroll, and in every table, those of figures included, the numbers of
report.json, as far as the page shows their digits. Screenshots go to SCREENSHOTS.
"""

import json
import os
import pathlib
import re
import sys

from playwright.sync_api import sync_playwright

WIDTHS = (400, 1000, 1600)
SCHEMES = ("light", "dark")
# What a cell's number is multiplied by to be that of the JSON.
SCALES = {
    "_bytes": {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9},
    "_ms": {"ms": 1, "s": 1e3, "min": 6e4, "h": 3.6e6},
    "_share": {"": 0.01},
}
NUMBER = re.compile(r"([×+-]?)(\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)")

# Every table in the order of the page, cell by cell, with the columns that each spans.
TABLES = """selector => [...document.querySelectorAll(selector)].map(table =>
    [...table.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell =>
        ({text: cell.textContent, kind: cell.className, span: cell.colSpan}))))"""


def shown(text, key):
    """The first number of a cell in the JSON's unit, and half of its last digit."""
    found = NUMBER.search(text.replace("−", "-"))
    if not found:
        return None
    sign, digits = found.groups()
    digits = digits.replace(",", "")
    mantissa, _, exponent = digits.partition("e")
    decimals = len(mantissa.partition(".")[2])
    step = 10.0 ** (int(exponent or 0) - decimals)
    if decimals == 0 and not exponent:
        # 12000 may have been rounded to thousands.
        step = 10.0 ** (len(mantissa) - len(mantissa.rstrip("0") or mantissa))
    value = float(digits) * (-1 if sign == "-" else 1)
    if key.endswith("_ratio"):
        if sign == "×":
            return value, step / 2
        return 1 + value / 100, step / 200
    scale = 1
    for suffix, units in SCALES.items():
        if key.endswith(suffix):
            words = text[found.end():].split()
            unit = next((word for word in words if word in units), "")
            scale = units.get(unit, 1)
    return value * scale, step * scale / 2


def compare(where, cells, row):
    """The differences between a row of a page and one of the JSON, and how many were compared."""
    wrong, compared, at = [], 0, 0
    keys = [key for key in row if key != "failure"]
    for cell in cells:
        key = keys[at]
        at += cell["span"]
        value = row[key]
        value = value["point"] if isinstance(value, dict) else value
        if not isinstance(value, (int, float)):
            continue
        found = shown(cell["text"], key)
        compared += 1
        if found is None or abs(found[0] - value) > found[1] * 1.001 + 1e-12 * abs(value):
            wrong.append(f"{where}: {key} is {value} and shown as {cell['text']!r}")
    return wrong, compared


def tables_equal(page, data):
    wrong, compared = [], 0
    for selector, name in (("main > .scroll table", "tables"), ("figure table", "figures")):
        on_page = page.evaluate(TABLES, selector)
        wanted = data[name]
        if len(on_page) != len(wanted):
            wrong.append(f"{len(wanted)} {name} in the JSON, {len(on_page)} on the page")
        for rows, table in zip(on_page, wanted):
            if len(rows) != len(table["rows"]):
                wrong.append(f"{table['title']}: {len(table['rows'])} rows, {len(rows)} shown")
            for cells, row in zip(rows, table["rows"]):
                found, count = compare(f"{table['title']}, {cells[0]['text']}", cells, row)
                wrong += found
                compared += count
    return wrong, compared


def look(browser, folder, screenshots):
    page_path, wrong, compared = folder / "report.html", [], 0
    data = json.loads((folder / "report.json").read_text())
    for scheme in SCHEMES:
        for width in WIDTHS:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            page = context.new_page()
            said, asked = [], []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(page_path.resolve().as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth")
            where = f"{folder.name} at {width} px, {scheme}"
            wrong += [f"{where}: console: {text}" for text in said]
            own = (page_path.resolve().as_uri(), "data:")
            wrong += [f"{where}: request: {url}" for url in asked if not url.startswith(own)]
            if wide > width:
                wrong.append(f"{where}: scrolls to {wide} px")
            page.screenshot(
                path=screenshots / f"{folder.name}-{width}-{scheme}.png", full_page=True
            )
            if width == WIDTHS[0] and scheme == SCHEMES[0]:
                found, compared = tables_equal(page, data)
                wrong += found
                page.pdf(path=screenshots / f"{folder.name}.pdf", format="A4")
            context.close()
    return wrong, compared


def main():
    screenshots, folders = pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
    screenshots.mkdir(parents=True, exist_ok=True)
    failed = False
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("EVALKIT_BROWSER") or None, args=["--no-sandbox"]
        )
        for folder in folders:
            wrong, compared = look(browser, folder, screenshots)
            failed |= bool(wrong) or compared == 0
            for what in wrong:
                print(what)
            print(f"{folder.name}: {compared} numbers compared, {len(wrong)} faults")
        browser.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
