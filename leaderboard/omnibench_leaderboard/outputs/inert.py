"""Texts of strangers, such as names of encoders, made harmless for each format.

Whatever reads the format gets the text back, less control and bidirectional characters and with
runs of white space as one space. HTML and SVG are escaped where they are made.
"""

from __future__ import annotations

import re
import unicodedata

from omnibench.console import plain

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~&$])")
# What begins a heading, a list or a rule.
START = re.compile(r"^(\d*)([-+#=.)])(?=[-+#=\s]|$)")
# What becomes a link or a mention without brackets, in spite of backslashes.
BARE = {
    re.compile(r":(?=//)"): "&#58;",
    re.compile(r"(?i)\b(www)\."): r"\1&#46;",
    re.compile(r"(?<!\w)@|@(?=\S*\.)"): "&#64;",
}
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # By number, since their names need fonts that a small TeX lacks.
    '"': r"\symbol{34}",
    "'": r"\symbol{39}",
    "`": r"\symbol{96}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "−": r"$-$",
    "·": r"$\cdot$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"\dag{}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    # At the start of a row these would be an option of the line break before it.
    "[": "{[}",
    "*": "{*}",
    # Braces keep these from joining into dashes and inverted marks.
    "-": "{-}",
    "?": "{?}",
    "!": "{!}",
}
ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030c": r"\v",
    "\u0327": r"\c",
}
# A spreadsheet takes what begins so for a formula; the wide forms too.
FORMULA = "=+-@＝＋－＠"


def line(text: object) -> str:
    """Return text as one line without control and bidirectional characters."""
    return " ".join(plain(text).split())


def markdown(text: object) -> str:
    """Return text that Markdown shows as it stands, also inside a table."""
    shown = START.sub(r"\1\\\2", MARKDOWN.sub(r"\\\1", line(text)))
    for pattern, entity in BARE.items():
        shown = pattern.sub(entity, shown)
    return shown


def latex(text: object) -> str:
    """Return text that LaTeX prints as it stands; what its fonts lack appears as `U+1F600`."""
    return "".join(map(_latex_character, unicodedata.normalize("NFC", line(text))))


def _latex_character(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    if character.isascii():
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in ACCENTS:
        dotless = {"i": r"\i", "j": r"\j"}.get(base, base)
        return f"{ACCENTS[marks[0]]}{{{dotless}}}"
    return f"U+{ord(character):04X}"


def cell(text: object) -> str:
    """Return text that a spreadsheet takes for text: an apostrophe stands before a formula."""
    shown = line(text)
    return f"'{shown}" if shown.startswith(tuple(FORMULA)) else shown
