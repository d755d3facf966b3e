"""Requests to stop: noted, handed on between those that listen, and obeyed at once the second time."""

import os
import signal
import threading

import pytest

from foundation.stopping import stop_requests


def ask(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_is_noted_and_the_second_one_breaks_off(number):
    called = []
    before = signal.getsignal(number)
    with stop_requests(then=lambda: called.append(1)) as stopped:
        assert not stopped()
        ask(number)
        assert stopped()
        assert called == [1]
        with pytest.raises(KeyboardInterrupt):
            ask(number)
    assert signal.getsignal(number) is before


def test_the_inner_listener_knows_what_the_outer_one_was_asked():
    with stop_requests() as outer:
        ask()
        with stop_requests() as inner:
            assert inner()
        assert outer()


def test_the_outer_listener_hears_what_the_inner_one_was_asked():
    with stop_requests() as outer:
        with stop_requests(signal.SIGTERM) as inner:
            ask()
            assert inner()
        assert outer()
    with stop_requests() as later:
        assert not later()


def test_who_does_not_listen_changes_nothing():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests(listen=False) as stopped:
        assert signal.getsignal(signal.SIGTERM) is before
        assert not stopped()


def test_other_threads_cannot_listen():
    answers = []

    def work():
        with stop_requests() as stopped:
            answers.append(stopped())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]
