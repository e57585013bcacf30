"""Docstrings as prose."""

import inspect

import pytest

from distill.corpus.docstrings.prose import extract_paragraphs


def prose(doc: str) -> str:
    return " ".join(extract_paragraphs(inspect.cleandoc(doc)))


def test_numpydoc() -> None:
    doc = """
    add(x1, x2, /, out=None)

    Add arguments `element-wise` [1]_.

    .. versionadded:: 1.9

        Since then.

    Parameters
    ----------
    x1, x2 : array_like
        The arrays, see :func:`~numpy.broadcast`.
    out : ndarray, optional
        Where ``out`` goes.

    See Also
    --------
    subtract : Subtract.

    Notes
    -----
    Is **fast**; *a* lot:

    * one
    * two

    References
    ----------
    .. [1] A book.

    Examples
    --------
    >>> np.add(1.0, 4.0)
    5.0

    Arrays work too.

    >>> np.add(x1,
    ...        x2)
    array([[0]])
    """
    assert prose(doc) == (
        "Add arguments element-wise. Parameters: x1, x2 : array_like The arrays, see "
        "numpy.broadcast. out : ndarray, optional Where out goes. Notes: Is fast; a lot: one. two. "
        "Arrays work too."
    )


def test_google_style() -> None:
    doc = r"""Scale :attr:`input` by :math:`0 < a \leq 1`, see `the paper <https://x.org>`_.

    .. math::
        y = ax

    .. note::
        It is slow.

    Args:
        input (Tensor): what is scaled
        a (float): the factor

    Example::

        >>> scale(x, 0.5)
        tensor([1.])

        >>> scale(y, 0.5)

    ```python
    scale(x)
    ```
    """
    assert prose(doc) == (
        r"Scale input by 0 < a \leq 1, see the paper. It is slow. Args: input (Tensor): what is "
        "scaled a (float): the factor."
    )


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ("abs(x) -> Tensor\n\nThe size.", "The size."),
        ("abs(x, *,\n    out=None) -> Tensor\nThe size.", "The size."),
        ("abs(x)", ""),
        ("f(x)\nOverloaded function.\n\n1. f(x: A) -> B\n\nOne.\n\n2. f(x: C) -> D", "One."),
        ("Use as follows::\n\n    code()\n\nThen rest.", "Use as follows: Then rest."),
        ("Modes\n\n====  =====\na     b\n====  =====\n1     2\n====  =====\n\nEnd.", "Modes. End."),
        ("A.\n\n**See also**\n\nfirst, second", "A."),
        ("", ""),
    ],
)
def test_details(doc: str, expected: str) -> None:
    assert prose(doc) == expected
