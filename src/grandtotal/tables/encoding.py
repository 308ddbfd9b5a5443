"""Text files that are not UTF-8: which encoding is likely, and the same text as UTF-8."""

import codecs

from grandtotal.errors import DataError

UTF8 = "utf-8"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WORDS = {
    "utf-16": "as Excel writes Unicode text",
    "utf-16-le": "as Windows programs write it",
    "utf-16-be": "as older systems write it",
    "cp1252": "Windows, western Europe; cp1250 for central Europe",
    "cp850": "DOS and older tills",
}


# Letters of cp850 that are signs nobody types in cp1252, and letters of cp1252.
_DOS_LETTERS = bytes([*range(0x81, 0x85), *range(0x86, 0x91), 0x98, *range(0x9A, 0xA6)])
_WINDOWS_LETTERS = bytes(range(0xC0, 0x100))


def likely(content: bytes) -> str:
    """Returns the most likely encoding of bytes that are not UTF-8.

    By the mark at the beginning, by where the zero bytes stand, or by which of two code pages
    reads more of the other bytes as letters.
    """
    if content.startswith(_UTF16):
        return "utf-16"
    if content[1::2].count(0) > len(content) // 4:
        return "utf-16-le"
    if content[::2].count(0) > len(content) // 4:
        return "utf-16-be"
    return (
        "cp850" if _count(content, _DOS_LETTERS) > _count(content, _WINDOWS_LETTERS) else "cp1252"
    )


def _count(content: bytes, letters: bytes) -> int:
    return len(content) - len(content.translate(None, letters))


def remedy(content: bytes, table: str) -> str:
    """Returns what to do about bytes that are not UTF-8, with the encoding that is likely."""
    name = likely(content)
    return (
        f"it is probably {name} ({_WORDS[name]}): write into [tables.{table}]: "
        f'encoding = "{name}", or save it as UTF-8 (in a spreadsheet: CSV UTF-8)'
    )


def as_utf8(table: str, path: object, content: bytes, encoding: str) -> bytes:
    """Returns the same text in UTF-8; DataError with the line where it is not in `encoding`."""
    try:
        return content.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError as error:
        line = content[: getattr(error, "start", 0)].count(b"\n") + 1
        hint = "leave the key out" if _is_utf8(content) else remedy(content, table)
        raise DataError(
            f"{table}: {path}: not {encoding} at line {line}, which retailer.toml says it is "
            f'(encoding = "{encoding}"); {hint}'
        ) from None


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
