"""Fuzzing: bytes from a peer, a file or a user may raise the documented errors and nothing else.

``make fuzz SECONDS=n`` runs every target so long and tells what was reached; those of the C core are in ``csrc/fuzz``. What the
fuzzers found worth keeping lies in ``corpus/`` here and there, and the normal tests replay it.
"""
