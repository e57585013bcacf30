"""Word files (.docx) as sections, by mammoth: their headings, paragraphs, lists and tables."""

import io
import zipfile

from distill.corpus.sections.markup import read_html
from distill.corpus.sections.outline import TextSection
from distill.errors import UserError, need, quote_fault

_STYLES = "\n".join(
    [
        "p[style-name='Title'] => h1:fresh",
        *(f"p[style-name='Heading {n}'] => h{min(6, n + 1)}:fresh" for n in range(1, 7)),
    ]
)
"""The title stands above all headings."""
_OLE = b"\xd0\xcf\x11\xe0"
"""How an encrypted file begins, and one of Word before 2007."""


def read_word(data: bytes, where: str) -> list[TextSection]:
    """Read the sections of a .docx file; pictures are left out, and no other file is opened.

    Raises:
        UserError: if it is encrypted, of an older form, or damaged.
    """
    mammoth = need("mammoth", "documents")
    if data.startswith(_OLE):
        raise UserError(
            where,
            "is encrypted, or of Word before 2007",
            "save it in Word or LibreOffice as .docx without a password",
        )
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise UserError(where, "is not a .docx file", "save it as .docx, or rename it")
    try:
        page = mammoth.convert_to_html(
            io.BytesIO(data),
            style_map=_STYLES,
            convert_image=lambda image: [],
            external_file_access=False,
        )
    except Exception as fault:  # damaged files raise anything
        what = f"is not a readable .docx file ({quote_fault(fault)})"
        remedy = "open it in Word or LibreOffice and save it again"
        raise UserError(where, what, remedy) from fault
    return read_html(page.value)
