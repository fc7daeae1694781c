"""Signals that are noted, and those that act at once."""

import signal

import pytest

from ctflow.storage.interrupts import deferred


def test_the_first_ctrl_c_is_noted_and_the_second_acts_at_once():
    handler = signal.getsignal(signal.SIGINT)
    with deferred() as note:
        signal.raise_signal(signal.SIGINT)
        assert note.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_context_that_does_not_want_signals_leaves_them_alone():
    with pytest.raises(KeyboardInterrupt), deferred(wanted=False) as note:
        signal.raise_signal(signal.SIGINT)
    assert note.signum is None
