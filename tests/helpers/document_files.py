"""PDF and Word files made in memory."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-'
    'officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Target="word/document.xml" Type="http://schemas.openxmlformats.org/'
    'officeDocument/2006/relationships/officeDocument"/></Relationships>'
)
_STYLE_TYPE = "<w:style w:type='paragraph' w:styleId='{id}'><w:name w:val='{name}'/></w:style>"


def make_pdf(
    pages: Sequence[Sequence[str]],
    title: str = "",
    bookmarks: Sequence[tuple[str, int]] = (),
    password: str | None = None,
    code_units: Mapping[str, str] | None = None,
) -> bytes:
    """A PDF file with these lines on its pages; a page without lines is blank. `code_units` are
    those of UTF-16, in hex, that the font says some letters stand for."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    if code_units:
        pairs = "\n".join(f"<{ord(letter):02x}> <{unit}>" for letter, unit in code_units.items())
        table = DecodedStreamObject()
        table.set_data(f"{len(code_units)} beginbfchar\n{pairs}\nendbfchar".encode())
        font[NameObject("/ToUnicode")] = writer._add_object(table)
    for lines in pages:
        page: Any = writer.add_blank_page(612, 792)
        shown = "".join(f"({line}) Tj T* " for line in lines)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 11 Tf 14 TL 50 740 Td {shown}ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if title:
        writer.add_metadata({"/Title": title})
    for name, number in bookmarks:
        writer.add_outline_item(name, number)
    if password is not None:
        writer.encrypt(password, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def make_docx(paragraphs: Sequence[tuple[str, str]]) -> bytes:
    """A Word file of paragraphs, each with the name of its style, such as `Heading 1`."""
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style.replace(" ", "")}"/></w:pPr>'
        f"<w:r><w:t>{text}</w:t></w:r></w:p>"
        for style, text in paragraphs
    )
    names = dict.fromkeys(style for style, _ in paragraphs)
    styles = "".join(_STYLE_TYPE.format(id=name.replace(" ", ""), name=name) for name in names)
    to_styles = _RELATIONS.replace("word/document", "styles").replace(
        "officeDocument/2006/relationships/officeDocument",
        "officeDocument/2006/relationships/styles",
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("[Content_Types].xml", _TYPES)
        file.writestr("_rels/.rels", _RELATIONS)
        file.writestr(
            "word/document.xml", f"<w:document {space}><w:body>{body}</w:body></w:document>"
        )
        file.writestr("word/_rels/document.xml.rels", to_styles)
        file.writestr("word/styles.xml", f"<w:styles {space}>{styles}</w:styles>")
    return out.getvalue()
