"""PostgreSQL and OpenSearch without Docker, for the two consumers of this workshop.

They listen on localhost alone, by default on 5432 and 9200, and keep their data until it is deleted.
"""

import pipeline.start

import argparse
import sys

from pipeline.cli.options import whole_number
from pipeline.cli.process import EXIT_FAILED, run
from pipeline.cli.status import add_log_level

try:
    from pipeline.local import opensearch as local_opensearch
    from pipeline.local import postgres as local_postgres
    from pipeline.local.opensearch import LocalOpenSearch
    from pipeline.local.postgres import LocalPostgres
except ModuleNotFoundError as missing:
    name = str(missing.name).partition(".")[0]
    sys.exit(f"local_services.py: {name} is not installed: pip install -r requirements/local.txt")

EXAMPLES = """examples:
  python -m workshops.musinsa.local_services start
  python -m workshops.musinsa.local_services start --postgres-port 5433
  python -m workshops.musinsa.local_services status     exit code 0 if both run, else 1
  python -m workshops.musinsa.local_services stop
"""


def main() -> None:
    """Start or stop both, or say whether they run."""
    pipeline.start.interrupt_from_now_on()
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("start", "status", "stop"))
    parser.add_argument(
        "--postgres-port", type=whole_number(1024, 65535), default=local_postgres.DEFAULT_PORT,
        metavar="PORT", help="default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--opensearch-port", type=whole_number(1024, local_opensearch.HIGHEST_PORT),
        default=local_opensearch.DEFAULT_PORT, metavar="PORT", help="default: %(default)s",
    )  # fmt: skip
    add_log_level(parser)
    options = parser.parse_args()
    postgres = LocalPostgres(options.postgres_port)
    opensearch = LocalOpenSearch(options.opensearch_port)
    all_run = True
    for name, service, address in (
        ("PostgreSQL", postgres, postgres.dsn),
        ("OpenSearch", opensearch, opensearch.url),
    ):
        if options.command == "start":
            print(f"{name} {'started' if service.start() else 'was running already'}: {address}", flush=True)
        elif options.command == "status":
            running = service.running
            all_run = all_run and running
            print(f"{name} at {address}: {'running' if running else 'not running'}, log: {service.log}")
        else:
            print(f"{name} {'stopped' if service.stop() else 'was not running'}.", flush=True)
    if not all_run:
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    run(main)
