"""Each defence taken out in a copy of the project: a test has to turn red, or it proves nothing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.local import PROJECT

NOT_COPIED = shutil.ignore_patterns(".git", ".kafka", "kafka-env", "__pycache__", ".*_cache")
DEFENCES = "tests/faults/test_defences.py::"


class Defence(NamedTuple):
    """A defence, how to take it out, the test that must fail then, and in which words (a pattern)."""

    name: str
    file: str
    code: str
    without: str
    test: str
    shows: str


PROCESSOR = "stream_processor.py"
LOOP = "pipeline/client/exactly_once.py"
TRANSACTIONS = "pipeline/client/transactions.py"
SETTINGS = "pipeline/client/settings.py"
CONSUMING = "pipeline/client/consuming.py"
REPLAY = "pipeline/dlq/replay.py"
RECREATED = "tests/faults/test_recreated_topics.py::"
REPLAYS = "tests/faults/test_replay.py::"
TABLE = (
    Defence(
        "each record's future is asked before the commit", TRANSACTIONS,
        "for topic, future in self._sent\n            if",
        "for topic, future in self._sent[:0]\n            if",
        DEFENCES + "test_records_that_expired_are_not_left_out",
        r"[1-9]\d* lost, 0 too many",
    ),
    Defence(
        "the committed offset is read back", LOOP,
        "                _confirm_committed(batch)\n", "",
        DEFENCES + "test_a_commit_that_the_broker_aborted_is_noticed",
        r"all processed: not within",
    ),
    Defence(
        "both clients are recreated after an error", LOOP,
        "            self._recovering = True\n        self._close()\n",
        """            self._recovering = True
        try:
            self._clients.producer._client.abort_transaction()
            for partition in self._clients.consumer.assignment():
                self._clients.consumer.seek(partition, self._clients.consumer.committed(partition) or 0)
            self._batch = None
        except (KafkaError, AttributeError):
            self._close()
""",
        DEFENCES + "test_offsets_of_a_lost_transaction_are_never_sent_with_a_later_one",
        "records committed: not within",
    ),
    Defence(
        "a processor out of its group does not commit", LOOP,
        "    if membership.state is not MemberState.STABLE:\n", "    if False:\n",
        DEFENCES + "test_a_processor_that_fell_out_of_its_group_commits_nothing",
        r"0 lost, [1-9]\d* too many",
    ),
    Defence(
        "positions are compared with the committed offsets after a rebalance", LOOP,
        "if records[0].offset < committed <= ", "if False and ",
        DEFENCES + "test_positions_from_before_a_lost_membership_are_not_used",
        r"0 lost, [1-9]\d* too many",
    ),
    Defence(
        "a recreated topic is another topic", LOOP,
        "                _confirm_topics(clients, polled)\n", "",
        RECREATED + "test_a_topic_that_was_recreated_while_the_processor_slept",
        r"all come out: not within",
    ),
    Defence(
        "an offset of a deleted topic is not used", LOOP,
        "                _confirm_offsets(clients, membership)\n", "",
        RECREATED + "test_a_committed_offset_of_a_deleted_topic_is_not_used",
        r"all come out: not within",
    ),
    Defence(
        "joining that takes too long is started over", LOOP,
        "                _confirm_settled(clients, membership)\n", "",
        DEFENCES + "test_new_partitions_are_found_when_the_group_is_slow",
        r"1 of 1 events came out: not within",
    ),
    Defence(
        "fencing is a reason to recreate the clients, not to give up", "pipeline/client/errors.py",
        "FINAL_ERRORS = (\n", "FINAL_ERRORS = (\n    ProducerFencedError,\n",
        DEFENCES + "test_a_transaction_that_timed_out_is_no_final_error",
        r"all processed: not within",
    ),
    Defence(
        "the watchdog", LOOP,
        'with self._watchdog.watch("commit()"):', "if True:",
        DEFENCES + "test_a_call_that_hangs_ends_and_the_work_continues",
        r"'restarting this process': not within",
    ),
    Defence(
        "topics are known before the group is joined", CONSUMING,
        "        count_partitions(consumer, topic)\n"
        "    consumer.subscribe(topics, listener=listener)\n"
        "    consumer.topics()\n",
        "        pass\n    consumer.subscribe(topics, listener=listener)\n",
        DEFENCES + "test_a_start_does_not_hang_when_the_group_is_slow",
        r"all consumers print: not within",
    ),
    Defence(
        "the group is joined once", CONSUMING,
        "    consumer.topics()\n", "",
        DEFENCES + "test_a_consumer_joins_its_group_once",
        r"assert [2-9] == 1",
    ),
    Defence(
        "a vanished broker counts as one that does not answer now", SETTINGS,
        '        "kafka_client": partial(Network, cluster),\n', "",
        DEFENCES + "test_a_consumer_outlives_one_of_several_brokers",
        r"it asks again: not within",
    ),
    Defence(
        "the same for producers", SETTINGS,
        '        "kafka_client": partial(Network, cluster),\n', "",
        DEFENCES + "test_a_producer_outlives_one_of_several_brokers",
        r"it asks again: not within",
    ),
    Defence(
        "each client is closed in a guard of its own", LOOP,
        "        self._open.close()\n",
        "        self.producer._client.close(timeout=1)\n        self.consumer.close(autocommit=False)\n",
        DEFENCES + "test_a_producer_that_can_not_be_closed_holds_nothing_up",
        r"a new producer is there: not within",
    ),
    Defence(
        "an unreachable broker is tried again every second", SETTINGS,
        '        "reconnect_backoff_max_ms": 1000,\n', "",
        DEFENCES + "test_a_broker_that_is_reachable_again_is_found_soon",
        r"it is found: not within",
    ),
    Defence(
        "read_committed for the processor's own reading", PROCESSOR,
        'isolation_level="read_committed",', "",
        DEFENCES + "test_offsets_of_a_transaction_still_open_are_waited_for",
        r"0 lost, [1-9]\d* too many",
    ),
    Defence(
        "a null value is sent past send()", TRANSACTIONS,
        "value=Contents(value, headers) if headers or value is None else value,\n            key=key,\n"
        "            headers=_Unchecked() if headers else None,",
        "value=value,\n            key=key,\n            headers=list(headers),",
        "tests/integration/test_processor.py::test_every_broken_event_ends_as_a_dead_letter_byte_for_byte",
        "all processed: not within",
    ),
    Defence(
        "every KafkaError is an error of the batch", LOOP,
        "_confirm_committed(batch)\n        except KafkaError as error:",
        "_confirm_committed(batch)\n        except KafkaConnectionError as error:",
        "tests/faults/test_processor_dies.py::test_a_stopped_processor_continues_when_others_have_its_work",
        "2 processors in the group: not within",
    ),
    Defence(
        "the group's membership goes with the offsets", TRANSACTIONS,
        "send_offsets_to_transaction(offsets, membership)",
        "send_offsets_to_transaction(offsets, membership.group_id)",
        DEFENCES + "test_offsets_of_a_lost_transaction_are_never_sent_with_a_later_one",
        r"0 lost, [1-9]\d* too many|records committed: not within",  # twice, or set back
    ),
    Defence(
        "all replays share one transactional id", "dlq.py",
        "transactional_id=REPLAY_ID,",
        "transactional_id=f'{REPLAY_ID}-{__import__(\"os\").getpid()}',",
        REPLAYS + "test_replays_at_the_same_time",
        r"0 lost, [1-9]\d* too many",
    ),
    Defence(
        "a replay reads the ledger back after the commit", REPLAY,
        "        if not left.keys() <= self._queue.replayed.keys():\n", "        if False:\n",
        REPLAYS + "test_a_commit_of_a_replay_that_the_broker_aborted_is_noticed",
        r"assert \(0, \['sent",
    ),
)  # fmt: skip


def test_each_defence_stands_where_it_is_taken_out() -> None:
    places = [(PROJECT / defence.file).read_text().count(defence.code) for defence in TABLE]
    assert places == [1] * len(TABLE)


@pytest.mark.only_in_full
@pytest.mark.parametrize("defence", TABLE, ids=lambda defence: defence.name)
def test_without(defence: Defence, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(PROJECT, copy, ignore=NOT_COPIED)
    (copy / ".kafka").symlink_to(PROJECT / ".kafka")
    file = copy / defence.file
    code = file.read_text()
    assert code.count(defence.code) == 1
    file.write_text(code.replace(defence.code, defence.without))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=short", defence.test], cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, f"green without its defence:\n{done.stdout}{done.stderr}"
    assert re.search(defence.shows, done.stdout), done.stdout
