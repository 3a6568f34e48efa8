"""create_topic.sh: creates a topic."""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

from pipeline.cli.options import option_parser, whole_number
from pipeline.cli.process import PipelineError
from pipeline.client.admin import admin_client, create_topics
from pipeline.client.errors import run_kafka_script
from pipeline.topics import PARTITIONS

EXAMPLES = """
    ./create_topic.sh my_topic
    ./create_topic.sh my_topic 1 1
"""


def main() -> None:
    """Create the topic that the command line names."""
    parser = option_parser(__doc__, EXAMPLES)
    parser.prog = "./create_topic.sh"
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "partitions", metavar="PARTITIONS", nargs="?", type=whole_number(1, 10_000), default=PARTITIONS,
        help="so many consumers of a group can share it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "replication", metavar="REPLICATION", nargs="?", type=whole_number(1, 32_767), default=1,
        help="number of brokers with a replica (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    with admin_client(options.cluster) as admin:
        if not create_topics(admin, [options.name], options.partitions, options.replication):
            raise PipelineError(f"Topic {options.name} exists already.")
    print(
        f"Created topic {options.name}: {options.partitions} partitions, replication {options.replication}."
    )


if __name__ == "__main__":
    run_kafka_script(main, "create_topic.sh")
