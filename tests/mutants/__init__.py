"""Mistakes that messengers have made, put back one at a time: the tests must notice each.

``python -m tests.mutants`` shows how good the tests are. Each mistake is a patch in ``patches/``, made by ``diff -U2``: its
story, an empty line, and ``Found-by:``, a program of the C tests (``test_stream``) or arguments of pytest
(``tests/session/test_pair.py``) that must fail. ``Variant: asan`` where only the address sanitizer sees it.
"""
