"""Serve until Ctrl-C: ``python -m sutro_magic.demo [--port N] [--fault NAME]``."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from sutro_magic.demo.service import DemoService
from sutro_magic.errors import SutroError


def main(arguments: list[str] | None = None) -> int:
    """Run the service in the foreground; return the exit code."""
    faults = "\n".join(f"  {name:17} {text}" for name, text in DemoService.FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m sutro_magic.demo",
        description="A Sutro deployment in miniature. Prints where it is and its key, then serves until Ctrl-C.",
        epilog=f"faults:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1 (default: any free one)")
    parser.add_argument("--fault", metavar="NAME", help="something to go wrong; see below")
    options = parser.parse_args(arguments)
    # A shell starts background jobs with SIGINT ignored; this service ends on both in any case.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    service: DemoService | None = None
    try:
        service = DemoService(port=options.port)
        if options.fault is not None:
            service.set_fault(options.fault)
        service.start()
        print(f"SUTRO_API_URL={service.url} SUTRO_API_KEY={service.api_key}", flush=True)  # noqa: T201 - its one line
        while True:
            # Windows wakes for Ctrl-C only between sleeps.
            time.sleep(1)
    except KeyboardInterrupt:
        return 0
    except SutroError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command line says what is wrong
        return 2
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if service is not None:
            service.stop()


if __name__ == "__main__":
    sys.exit(main())
