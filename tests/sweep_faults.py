"""Faults in random sequences: `python tests/sweep_faults.py [SEEDS] [--first SEED]` runs hundreds, tests a dozen."""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from faulty_storage import ALL_FAULTS, JOB, FaultyService, make_table, running

from sutro_magic import Session, errors
from sutro_magic.api.retry import RetryPolicy

FORMATS = ["parquet", "csv", "json"]
BRISK = RetryPolicy(tries=3, seconds=6, first_pause=0.005, slow_rate=2000, slow_seconds=0.4)


def leftovers(cache):
    """Partial downloads that lie about."""
    return list((Path(cache) / "partials").glob("*/*"))


def one_sequence(service, folder, wire, plan):
    """Fetch while the faults of a plan happen, then without; say what came of it."""
    session = Session(service.url, "sk_x", Path(folder) / "cache")
    session.client.retry = BRISK
    service.plan = list(plan)
    outcome = "right table"
    try:
        assert session.results(JOB, format=wire).to_arrow().equals(service.table), "a wrong table"
    except errors.SutroError as error:
        outcome = type(error).__name__
        assert error.message and "sig=" not in str(error)  # noqa: PT017 - the outcome may be a table as well
    assert len(leftovers(session.cache.directory)) <= 1
    service.plan = []
    assert session.results(JOB, format=wire, refresh=True).to_arrow().equals(service.table), "a wrong table"
    assert leftovers(session.cache.directory) == []
    assert list((session.cache.directory / "staging").iterdir()) == []
    session.close()
    return outcome


def random_sequence(seed, folder):
    """Draw a service and a plan from a seed, and run it."""
    chance = random.Random(seed)
    wire = chance.choice([*FORMATS, "parquet"])
    plan = chance.choices(ALL_FAULTS, k=chance.randint(1, 8))
    several = chance.random() < 0.5
    service = FaultyService(
        table=make_table(chance.choice([20, 300, 3000]), seed),
        head=chance.choice(["works", "refused", "tells nothing", None]),
        expires=chance.choice([None, None, 1, 2]) if not several else None,
        ranges=chance.random() < 0.85,
        rate=chance.choice([None, 400_000]),
    )
    patches = {
        "sutro_magic.download.concurrency.WINDOW_SECONDS": 0.02,
        "sutro_magic.download.concurrency.WORTH_SECONDS": 0.0,
        "sutro_magic.download.concurrency.NEEDED_SHARE": -10.0,
        "sutro_magic.download.transfer.SMALLEST_SPLIT": 8 << 10,
        "sutro_magic.download.transfer.TICK_SECONDS": 0.02,
        "sutro_magic.download.transfer.SAVE_SECONDS": 0.05,
    }
    with running(service):
        context = [mock.patch(name, value) for name, value in patches.items()] if several else []
        for patch in context:
            patch.start()
        try:
            outcome = one_sequence(service, folder, wire, plan)
        except BaseException:
            print(f"seed {seed}: {wire}, {'several' if several else 'one'}, {plan}", file=sys.stderr)
            raise
        finally:
            for patch in context:
                patch.stop()
    return f"seed {seed}: {wire}, {'several' if several else 'one'}, {plan}: {outcome}", outcome


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="?", type=int, default=300)
    parser.add_argument("--first", type=int, default=1000)
    options = parser.parse_args()
    outcomes = collections.Counter()
    begin = time.monotonic()
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            said, outcome = random_sequence(seed, folder)
        outcomes[outcome] += 1
        print(said)
    print(
        f"{options.seeds} sequences from seed {options.first} in {time.monotonic() - begin:.0f} s: {dict(outcomes)}"
    )


if __name__ == "__main__":
    main()
