"""What users ask of an allocation that runs: to begin anew, to be sent signals. Pure.

- A restart is asked of all attempts up to one. Numbers of attempts only rise: it is done once, however often asked.
- A signal is written down before it is sent, and with what became of it afterwards: it is sent once, or not at all.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from agents.record import Record
from heroctl.domain.assignment import MOST_SIGNALS, Assigned, Signalled, SignalWish

INTERRUPTED: Final = "the agent was interrupted as it sent this: it may have arrived, and is not sent again"
TOO_LATE: Final = "the attempt it was meant for runs no more"


def to_restart(record: Record, assigned: Assigned) -> bool:
    """Tell whether this attempt is one that a user wants ended and followed by another."""
    return record.attempt <= assigned.restart


def next_signal(record: Record, assigned: Assigned) -> SignalWish | None:
    """Give the oldest signal that nothing has been done about."""
    done = newest(record)
    return min((wish for wish in assigned.signals if wish.number > done), key=lambda wish: wish.number, default=None)


def newest(record: Record) -> int:
    """Give the number of the last signal that something became of; 0: of none."""
    return max((each.number for each in record.signalled), default=0)


def settled(record: Record, assigned: Assigned) -> Record:
    """Answer for the signals that are not to be sent: nobody knows whether they were, or nobody is there to hear."""
    while (wish := next_signal(record, assigned)) is not None:
        if wish.number == record.signalling:
            record = sent(record, wish.number, INTERRUPTED)
        elif record.phase != "running" or record.attempt != wish.attempt:
            record = sent(record, wish.number, TOO_LATE)
        else:
            break
    return record


def sent(record: Record, number: int, fault: str = "") -> Record:
    """Remember what became of a signal, beside what became of those before it."""
    return replace(record, signalling=0, signalled=(*record.signalled[1 - MOST_SIGNALS :], Signalled(number, fault)))
