"""The pictures of CONFIGURE.md: `python -m docs.pictures` draws them from the forms' own JSON files.

docs/form-*.png       a form as a browser shows it, rendered by headless Chromium (Debian's package chromium)
docs/values.svg       three values on the portal -> three fields
docs/two-intakes.svg  one account -> two formats -> two connectors -> two intakes
"""

import json
import re
import subprocess
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
WIDTH = 640
# Forms are shown with what stands in the catalogue beside the field's name.
STYLE = """
*{box-sizing:border-box} body{margin:0;padding:20px 24px;width:640px;background:#fff;color:#1b1f3b;
font:13px/1.4 "Liberation Sans",Arial,sans-serif} h1{font-size:17px;margin:0 0 14px} .f{margin:0 0 13px}
b{font-size:13px} i{color:#c0392b;font-style:normal} p{margin:2px 0 5px;color:#5b6079;font-size:11.5px}
.v{border:1px solid #c9cde0;border-radius:4px;padding:6px 9px;min-height:30px;background:#fafbff;color:#1b1f3b}
.v.e{color:#9aa0bd} .o{display:inline-block;border:1px solid #c9cde0;border-radius:10px;padding:1px 9px;
margin:2px 5px 2px 0}
"""


@dataclass(frozen=True)
class Form:
    """One form: which file, where in it, and the name of its picture."""

    file: str
    member: str
    picture: str


FORMS = (
    Form("manifest.json", "configuration", "form-account"),
    Form("connector_entra_signins.json", "arguments", "form-sign-ins"),
    Form("connector_entra_audits.json", "arguments", "form-audits"),
)


def page(form: Form) -> str:
    """A form as HTML, from its JSON file."""
    schema = json.loads((ROOT / form.file).read_text())[form.member]
    fields = [
        _field(name, field, required=name in schema.get("required", []), secret=name in schema.get("secrets", []))
        for name, field in schema["properties"].items()
    ]
    return (
        f"<!DOCTYPE html><meta charset=utf-8><style>{STYLE}</style><h1>{escape(schema['title'])}</h1>{''.join(fields)}"
    )


def _field(name: str, field: dict[str, Any], *, required: bool, secret: bool) -> str:
    star = " <i>*</i>" if required else ""
    return (
        f'<div class=f><b>{escape(field["title"])}</b>{star} <span style="color:#9aa0bd">{name}</span>'
        f"<p>{escape(field['description'])}</p>{_input(field, secret=secret)}</div>"
    )


def _input(field: dict[str, Any], *, secret: bool) -> str:
    options = field.get("items", field).get("enum")
    default = field.get("default")
    if options and isinstance(default, list):
        shown = "".join(f"<span class=o>{'&#10003; ' if one in default else ''}{one}</span>" for one in options)
        return f"<div class=v>{shown}</div>"
    if options:
        return f"<div class=v>{default} &#9662;</div>"
    if field["type"] == "boolean":
        return f"<span class=o>{'&#10003; on' if default else 'off'}</span>"
    if default is None:
        return f"<div class='v e'>{'a secret: it is never shown again' if secret else '&nbsp;'}</div>"
    return f"<div class=v>{escape(str(default))}</div>"


def render(html: str, picture: Path) -> None:
    """Has Chromium draw a page, as high as it is."""
    with TemporaryDirectory() as name:
        source = Path(name) / "page.html"
        source.write_text(html)
        measured = re.search(r"height=(\d+)", _chromium(name, "--dump-dom", _measuring(source)))
        height = int(measured[1]) if measured else 1600
        _chromium(name, f"--window-size={WIDTH},{height}", f"--screenshot={picture}", source.as_uri())


def _measuring(source: Path) -> str:
    """The page once more, which writes its own height."""
    measured = source.with_name("measured.html")
    script = '<script>document.title="height="+document.body.scrollHeight;document.body.id=document.title</script>'
    measured.write_text(source.read_text() + script)
    return measured.as_uri()


def _chromium(folder: str, *arguments: str) -> str:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},400"]
    return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S603


def values() -> str:
    """Three values on the portal, and the fields of the account's form that they belong to."""
    fields = json.loads((ROOT / "manifest.json").read_text())["configuration"]["properties"]
    rows = (
        ("Overview", "Application (client) ID", "11111111-2222-4333-8444-555555555555", "client_id", True),
        ("Overview", "Directory (tenant) ID", "8f0c2a31-5b7e-4d19-9c64-0e7d1f3b2a58", "tenant_id", True),
        ("Certificates & secrets", "Value", "abc8Q~xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "client_secret", True),
        ("Certificates & secrets", "Secret ID", "0d9b7c41-...", "", False),
    )
    parts = [
        _text(24, 34, "In the Azure portal, on the app registration", 15),
        _text(520, 34, "In the account's form", 15),
    ]
    for number, (where, what, value, name, used) in enumerate(rows):
        y = 56 + number * 66
        parts.append(_box(24, y, 380, 52, "#fff" if used else "#f6e9e9"))
        parts.append(_text(36, y + 20, f"{where} > {what}", 12, "#5b6079"))
        parts.append(_text(36, y + 40, value, 13, mono=True))
        if used:
            parts += [_arrow(404, y + 26, 520), _box(520, y, 256, 52, "#eaf3ea")]
            parts += [_text(532, y + 20, name, 12, "#5b6079"), _text(532, y + 40, fields[name]["title"], 14)]
        else:
            parts.append(_text(420, y + 32, "not this one: it is only the secret's name", 13, "#c0392b"))
    return _svg(800, 56 + len(rows) * 66, parts)


def two_intakes() -> str:
    """One account, and what hangs on it."""
    names = [json.loads((ROOT / form.file).read_text())["name"] for form in FORMS]
    parts = [
        _box(16, 96, 170, 92, "#e6edfb"),
        *_lines(26, 122, ("One account", "tenant, application,", "secret, cloud")),
    ]
    for row, (log, name) in enumerate(zip(("sign-ins", "directory audits"), names[1:], strict=True)):
        y = 28 + row * 130
        parts += [_box(236, y, 186, 92, "#fff"), *_lines(246, y + 26, ("Connector", *_halves(name)))]
        parts += [
            _box(472, y, 186, 92, "#fff"),
            *_lines(482, y + 26, ("Format", f"for {log},", "tied to this connector")),
        ]
        parts += [_box(708, y, 176, 92, "#eaf3ea"), *_lines(718, y + 26, ("Intake", log, "with a key of its own"))]
        parts += [_arrow(422, y + 46, 472), _arrow(658, y + 46, 708)]
        parts.append(f'<path d="M186 142 L236 {y + 46}" stroke="#5b6079" stroke-width="1.6" marker-end="url(#a)"/>')
    return _svg(900, 266, parts)


def _halves(name: str) -> tuple[str, str]:
    words = name.split()
    middle = len(words) // 2 + 1
    return " ".join(words[:middle]), " ".join(words[middle:])


def _lines(x: int, y: int, lines: tuple[str, ...]) -> list[str]:
    first, *others = lines
    shown = [_text(x, y, first, 14)]
    return shown + [_text(x, y + 22 + 19 * number, line, 12, "#5b6079") for number, line in enumerate(others)]


def _box(x: int, y: int, width: int, height: int, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="#c9cde0"/>'


def _arrow(x: int, y: int, to_x: int) -> str:
    return f'<path d="M{x} {y}H{to_x - 2}" stroke="#5b6079" stroke-width="1.6" marker-end="url(#a)"/>'


def _text(x: int, y: int, text: str, size: int, fill: str = "#1b1f3b", *, mono: bool = False) -> str:
    family = ' font-family="Liberation Mono, monospace"' if mono else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{family}>{escape(text)}</text>'


def _svg(width: int, height: int, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="Liberation Sans, Arial, '
        f'sans-serif"><defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0L8 4L0 8z" fill="#5b6079"/></marker></defs><rect width="{width}" '
        f'height="{height}" fill="#f4f5fa"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    for form in FORMS:
        render(page(form), FOLDER / f"{form.picture}.png")
    (FOLDER / "values.svg").write_text(values())
    (FOLDER / "two-intakes.svg").write_text(two_intakes())
