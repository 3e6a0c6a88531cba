"""What all tests begin with."""

import signal

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines are noisy: how long an example takes is no failure
settings.load_profile("untimed")


def pytest_configure() -> None:
    """Ctrl-C ends tests and what they start, also where the shell began them in the background: there it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
