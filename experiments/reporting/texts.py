"""Reads ``texts.toml``: notes of tables, titles and descriptions of figures."""

import pathlib
import tomllib

_TEXTS = tomllib.loads(pathlib.Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
NOTES, FIGURES = _TEXTS["notes"], _TEXTS["figures"]
