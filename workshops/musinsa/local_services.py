"""PostgreSQL and OpenSearch without Docker, for the two consumers of this workshop.

They listen on localhost alone, 5432 and 9200 unless told otherwise, and keep their data until it is deleted.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.options import whole_number
from pipeline.process import run
from workshops.musinsa import local_opensearch, local_postgres
from workshops.musinsa.local_opensearch import LocalOpenSearch
from workshops.musinsa.local_postgres import LocalPostgres

EXAMPLES = """examples:
  python3 workshops/musinsa/local_services.py start
  python3 workshops/musinsa/local_services.py start --postgres-port 5433
  python3 workshops/musinsa/local_services.py stop
"""


def main() -> None:
    """Start or stop both."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("start", "stop"))
    parser.add_argument(
        "--postgres-port", type=whole_number(1024, 65535), default=local_postgres.DEFAULT_PORT,
        metavar="PORT", help="default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--opensearch-port", type=whole_number(1024, local_opensearch.HIGHEST_PORT),
        default=local_opensearch.DEFAULT_PORT, metavar="PORT", help="default: %(default)s",
    )  # fmt: skip
    options = parser.parse_args()
    postgres = LocalPostgres(options.postgres_port)
    opensearch = LocalOpenSearch(options.opensearch_port)
    for name, service, address in (
        ("PostgreSQL", postgres, postgres.dsn),
        ("OpenSearch", opensearch, opensearch.url),
    ):
        if options.command == "start":
            print(f"{name} {'started' if service.start() else 'was running already'}: {address}", flush=True)
        else:
            print(f"{name} {'stopped' if service.stop() else 'was not running'}.", flush=True)


if __name__ == "__main__":
    run(main)
