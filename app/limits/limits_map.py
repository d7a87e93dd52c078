"""The byte map of the file that a machine's workers count limits in: little-endian 8-byte words.

    word 0     header       512 words (one 4096-byte page), fields of HEADER
               rate cells   16,384 sets × 4 cells × 2 words: hash of the key, its theoretical arrival time in monotonic
                            ns; all workers write them, without a lock
    page       slot 0       one worker's own part, see below
    page       slot 1 …

    slot       counts       64 rows × 8 words: which limit, and its figures, fields of COUNTS; they stay when the slot
                            changes hands
               refused      32 rows × 16 words: the keys that were refused last: which limit, hash of the key, how
                            often, monotonic ns, length of the text, text
               in flight    256 sets × 8 cells × 2 words: hash of the key, how many of its requests are in flight

A key that is counted by rate takes 16 bytes, and so does one with requests in flight, in each worker.
"""

from __future__ import annotations

from typing import Final

from app.limits.rate import MOST_LIMITS

__all__ = ["COUNTS", "HEADER", "MAGIC"]

MAGIC: Final = int.from_bytes(b"BGLIMITS", "little")
LAYOUT_VERSION: Final = 1
WORD: Final = 8
PAGE_WORDS: Final = 512

HEADER: Final = (
    "magic",
    "layout_version",
    "boot_id_high",  # the monotonic clock only means something within one boot of the machine
    "boot_id_low",
    "secret_high",  # of the keyed hash: nobody can choose keys that meet
    "secret_low",
    "used_slots",  # the slots from this one on were never used
)
H: Final = {name: index for index, name in enumerate(HEADER)}

RATE_SETS: Final = 16_384
RATE_WAYS: Final = 4
RATES_AT: Final = PAGE_WORDS

SLOTS: Final = 128
"""A reload has two sets of workers alive, an upgrade four."""

COUNTS: Final = ("who", "passed", "refused", "delayed", "would_refuse")
COUNT_WORDS: Final = 8
REFUSED_AT: Final = MOST_LIMITS * COUNT_WORDS
REFUSED_ROWS: Final = 32
REFUSED_WORDS: Final = 16
REFUSED_TEXT: Final = 5
REFUSED_TEXT_BYTES: Final = (REFUSED_WORDS - REFUSED_TEXT) * WORD
IN_FLIGHT_AT: Final = REFUSED_AT + REFUSED_ROWS * REFUSED_WORDS
IN_FLIGHT_SETS: Final = 256
IN_FLIGHT_WAYS: Final = 8
SLOT_WORDS: Final = -(-(IN_FLIGHT_AT + IN_FLIGHT_SETS * IN_FLIGHT_WAYS * 2) // PAGE_WORDS) * PAGE_WORDS
SLOTS_AT: Final = RATES_AT + RATE_SETS * RATE_WAYS * 2
FILE_BYTES: Final = (SLOTS_AT + SLOTS * SLOT_WORDS) * WORD


def slot_at(slot: int) -> int:
    """The first word of a slot."""
    return SLOTS_AT + slot * SLOT_WORDS
