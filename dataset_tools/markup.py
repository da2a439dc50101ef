"""Texts that hold HTML, as shops and their scrapers publish them, as plain text.

A text without markup stays as it is. What counts as markup is what plain texts do not have by chance: entities with
their semicolon, tags of HTML's elements (so ``a < b``, ``<3`` and ``R&D`` stay), and Amazon's links within reviews.
"""

import re
from html import unescape
from html.entities import html5

import pyarrow as pa
import pyarrow.compute as pc

_DEEPEST = 5  # times that a text may have been escaped
_BLOCKS = (
    "address|article|aside|blockquote|body|br|center|dd|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|head|"
    "header|hr|html|li|nav|ol|p|pre|section|table|tbody|td|tfoot|th|thead|tr|ul"
)
_INLINE = (
    "a|abbr|acronym|b|big|button|cite|code|del|em|font|i|iframe|img|input|ins|kbd|label|link|mark|meta|noscript|option|"
    "q|s|samp|script|select|small|span|strike|strong|style|sub|sup|svg|tt|u|wbr"
)
# Attributes have a value: `if a <b and c> d` is no tag. A quoted value may hold ">".
_REST = r"""(?:\s[^<>=]*=(?:"[^"<]*"|'[^'<]*'|[^<>])*?)?\s*/?>"""
_RULES = (  # in RE2's notation, in this order
    (r"(?is)<(?:script|style)\b[^>]*>.*?</(?:script|style)\s*>", " "),
    (r"(?is)<!--.*?-->|<!doctype\b[^>]*>", ""),
    (rf"(?i)</?(?:{_BLOCKS}){_REST}", "\n"),
    (rf"(?i)</?(?:{_INLINE}){_REST}", ""),
    (r"\[\[VIDEOID:[^\]]*\]\]", ""),
    (r"\[\[ASIN:\w+ ([^\]]*)\]\]", r"\1"),
)
_MARKUP = r"(?i)</?[a-z!]|&#?[a-z0-9]+;|\[\[(?:VIDEOID|ASIN):"
_ENTITY = re.compile(r"&(#[0-9]{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]*;)")

# What a page's scripts and style sheets begin with.
_SCRIPT = (
    r"(?:var|let|const)\s+[\w$]+\s*=[^=].*;|[(!]?\s*function\s*[\w$]*\s*\([^()]*\)\s*\{|if\s*\(\s*!?\s*(?:typeof|window|"
    r"document)\b|(?:window|document|amznJQ)\.\w+\s*[.=(]|P\.(?:when|register|load|now)\(|(?:\$|jQuery)\((?:document|"
    r"window|function|['\"])"
)
_STYLE = (
    r"(?:[.#@][\w-][^{}<>;]*|\*\s*|(?:html|body|table|t[drh]|div|span|h[1-6]|ul|ol|li|img|p|a)\s*(?:[.#:,>\[][^{}<>;]*)?)"
    r"\{(?:[^{}]*\{)?\s*[a-z-]+\s*:[^{}]*[;}]"
)
_CODE = rf"(?s)^\s*(?:/\*.*?\*/\s*)*(?:{_SCRIPT}|{_STYLE})"
_PAGE = r"(?i)^\s*<(?:!doctype|html|head)\b"
_HIDDEN = r"(?i)<(?:script|style)\b"


def plain_texts(texts: pa.Array) -> pa.Array:
    """Texts without markup: entities and tags resolved, script and style left out.

    Elements that begin a line give a line break, others nothing. Of a text with markup, white space is joined; a text
    that has been escaped several times is resolved as often.

    Args:
        texts: [n] strings; null stays null.
    """
    plain = texts
    for _ in range(_DEEPEST):
        marked = pc.fill_null(pc.match_substring_regex(plain, _MARKUP), False)
        if not pc.any(marked).as_py():
            break
        plain = pc.replace_with_mask(plain, marked, _resolved(plain.filter(marked)))
    changed = pc.fill_null(pc.not_equal(plain, texts), False)
    return pc.replace_with_mask(plain, changed, _tidied(plain.filter(changed)))


def are_source(texts: pa.Array, plain: pa.Array) -> pa.Array:
    """Whether each text is the source of a page, a script or a style sheet; [n] bool.

    Args:
        texts: [n] strings, as they were read.
        plain: [n] what `plain_texts` made of them.
    """
    hidden = pc.and_(pc.equal(plain, ""), pc.match_substring_regex(texts, _HIDDEN))
    source = pc.or_(pc.match_substring_regex(texts, _PAGE), pc.match_substring_regex(plain, _CODE))
    return pc.fill_null(pc.or_(source, hidden), False)


def _resolved(texts: pa.Array) -> pa.Array:
    for pattern, replacement in _RULES:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    escaped = pc.match_substring(texts, "&")
    characters = [_ENTITY.sub(_character, text).replace("\xa0", " ") for text in texts.filter(escaped).to_pylist()]
    return pc.replace_with_mask(texts, escaped, pa.array(characters, texts.type))


def _character(entity: re.Match[str]) -> str:
    # Without its semicolon unescape would take `&notit;` for `&not` and `it;`.
    return unescape(entity[0]) if entity[1][0] == "#" or entity[1] in html5 else entity[0]


def _tidied(texts: pa.Array) -> pa.Array:
    spaced = pc.replace_substring_regex(texts, r"[ \t\r\f\v]+", " ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(spaced, r" ?\n[ \n]*", "\n"))
