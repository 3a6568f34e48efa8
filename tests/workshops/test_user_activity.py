"""Workshop 002, and what the scripts of 002, 003 and 004 have in common."""

import json
import re
import signal
import socket
import time

import pytest

from tests.integration.pipelines import Pipeline, Running, Sent, call_main, module_of, wait_until

PRODUCER = "workshops/user_activity/producer_example.py"
CONSUMER = "workshops/user_activity/consumer_example.py"
PART_1, PART_2, PART_3 = (
    f"workshops/uppercase/{name}.py" for name in ("part1_produce", "part2_transform", "part3_consume")
)
BULK_PRODUCER = "workshops/bulk_gzip/producer.py"
BULK_CONSUMER = "workshops/bulk_gzip/consumer.py"
SCRIPTS = (PRODUCER, CONSUMER, PART_1, PART_2, PART_3, BULK_PRODUCER, BULK_CONSUMER)
SLOWEST_STOP_SECONDS = 5.0

LOGIN = {"user_id": 123, "action": "login", "timestamp": 1646092800.0}
PURCHASE = {"user_id": 456, "action": "purchase", "timestamp": 1646092800.0, "amount": 500}
LOGIN_LINES = "======= 새 메시지 수신 (파티션: 0, 오프셋: 0) =======\n🟢 사용자 123가 로그인했습니다.\n\n"
PURCHASE_LINES = (
    "======= 새 메시지 수신 (파티션: 0, 오프셋: 1) =======\n💰 사용자 456가 500원 결제했습니다.\n\n"
)


@pytest.fixture
def topic(pipeline: Pipeline) -> str:
    assert pipeline.run(PRODUCER, "--count", "0").returncode == 0
    return pipeline.prefix + "user_activity"


def sent(message: object) -> Sent:
    return Sent(json.dumps(message).encode())


def shows(running: Running, *texts: str) -> None:
    wait_until(lambda: all(text in running.stdout for text in texts), f"prints {texts}", 20)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_has_examples(script: str) -> None:
    shown = call_main(script, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"python -m {module_of(script)}" in shown.stdout
    assert "--bootstrap-servers" in shown.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_bad_usage_is_the_exit_code_of_the_process(pipeline: Pipeline, script: str) -> None:
    shown = pipeline.run(script, "--no-such-option")
    assert shown.returncode == 2
    assert shown.stderr.startswith("usage:")


@pytest.mark.parametrize(
    "command",
    [
        (PRODUCER, "--interval", "-1"),
        (PRODUCER, "--interval", "nan"),
        (PRODUCER, "--acks", "2"),
        (PRODUCER, "--count", "many"),
        (CONSUMER, "--seek", "-1"),
        (CONSUMER, "--group", ""),
        (BULK_PRODUCER, "--count", "-1"),
    ],
)
def test_bad_usage_exits_with_2(command: tuple[str, ...]) -> None:
    shown = call_main(*command)
    assert shown.returncode == 2
    assert shown.stderr.startswith("usage:")


def test_a_missing_broker_is_one_line(pipeline: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        servers = f"localhost:{listener.getsockname()[1]}"
    started = time.monotonic()
    scripts = [pipeline.start(script, "--bootstrap-servers", servers) for script in SCRIPTS]
    for running in scripts:
        assert running.process.wait(20) == 1
    assert time.monotonic() - started < 20  # 10 s each; here seven start at once
    for running in scripts:
        running.stop()
        [line] = running.stderr.splitlines()
        assert f"No Kafka answers at {servers}" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_script_with_exit_0(pipeline: Pipeline, number: signal.Signals) -> None:
    scripts = [pipeline.start(script) for script in (PRODUCER, CONSUMER, PART_2, PART_3)]
    for running in scripts:
        running.wait_for("Ctrl-C to stop")
    asked = time.monotonic()
    for running in scripts:
        running.process.send_signal(number)
    for running in scripts:
        assert running.process.wait(SLOWEST_STOP_SECONDS) == 0
    assert time.monotonic() - asked < SLOWEST_STOP_SECONDS
    for running in scripts:
        running.stop()
        assert "Traceback" not in running.stderr


@pytest.mark.parametrize(
    "options", [(), ("--sync", "--key"), ("--acks", "1"), ("--acks", "0"), ("--acks", "0", "--sync")]
)
def test_producer_prints_what_it_sent(pipeline: Pipeline, topic: str, options: tuple[str, ...]) -> None:
    done = pipeline.run(PRODUCER, "--count", "20", "--interval", "0", *options)
    assert done.returncode == 0, done.stderr
    printed = re.findall(
        r"^메시지 전송: (\{'user_id': \d+, 'action': '\w+', 'timestamp': [\d.]+.*\})$", done.stdout, re.M
    )
    records = pipeline.read(topic)
    assert [str(json.loads(record.value)) for record in records] == printed
    offsets = [-1] * 20 if "0" in options else range(20)
    confirmed = re.findall(r"^메시지 전송 성공 - .*$", done.stdout, re.M)
    assert confirmed == [
        f"메시지 전송 성공 - 토픽: {topic}, 파티션: 0, 오프셋: {offset}" for offset in offsets
    ]
    assert len(done.stdout.splitlines()) == 40
    for record in records:
        message = json.loads(record.value)
        assert record.key == (str(message["user_id"]).encode() if "--key" in options else None)
        assert ("amount" in message) == (message["action"] == "purchase")


def test_producer_says_what_was_not_delivered(pipeline: Pipeline, topic: str) -> None:
    pipeline.tool(
        "kafka-configs", "--alter", "--topic", topic, "--add-config", "max.message.bytes=10"
    ).check_returncode()
    for options in ((), ("--sync",)):
        done = pipeline.run(PRODUCER, "--count", "1", "--interval", "0", *options)
        assert done.returncode == 1
        first, count, last = done.stderr.splitlines()[1:]
        assert first.startswith("Not delivered: MessageSizeTooLargeError")
        assert count == "Sent 0 messages."
        assert "1 messages could not be delivered" in last
        assert "성공" not in done.stdout


def test_producer_keeps_its_interval(pipeline: Pipeline, topic: str) -> None:
    started = time.monotonic()
    assert pipeline.run(PRODUCER, "--count", "3", "--interval", "1").returncode == 0
    assert time.monotonic() - started >= 2


@pytest.mark.parametrize("options", [(), ("--manual-commit",)])
def test_consumer_prints_a_line_for_each_action_and_continues_after_bad_messages(
    pipeline: Pipeline, topic: str, options: tuple[str, ...]
) -> None:
    bad = [b"not JSON", b"[]", b"\xff", None, b'{"user_id": 1, "action": "purchase"}', b'{"user_id": "1"}']
    others = [{**LOGIN, "action": action} for action in ("logout", "view", "dance\x1b[2J")]
    pipeline.produce(topic, [sent(LOGIN), sent(PURCHASE), *map(Sent, bad), *map(sent, others)])
    consumer = pipeline.start(CONSUMER, *options)
    shows(consumer, "로그아웃했습니다", "조회했습니다", r"알 수 없는 활동을 했습니다: dance\x1b[2J")
    assert consumer.stdout.startswith(LOGIN_LINES + PURCHASE_LINES)
    for offset in range(2, 8):
        assert f"Not a user activity: {topic}[0]@{offset}:" in consumer.stderr
    assert consumer.stop() == 0

    pipeline.produce(topic, [sent(LOGIN)])  # the group continues where it stopped
    again = pipeline.start(CONSUMER, *options)
    shows(again, "오프셋: 11")
    assert len(again.stdout.splitlines()) == 3


def test_manual_commit_is_there_after_each_message(pipeline: Pipeline, topic: str) -> None:
    pipeline.produce(topic, [sent(LOGIN), sent(PURCHASE)])
    consumer = pipeline.start(CONSUMER, "--manual-commit")
    shows(consumer, PURCHASE_LINES)
    group = pipeline.prefix + "user_activity_group"
    wait_until(
        lambda: re.search(
            rf"{topic} +0 +2 +2 +0",
            pipeline.tool("kafka-consumer-groups", "--describe", "--group", group).stdout,
        ),
        "the group has committed the end, while the consumer runs",
    )
    consumer.process.kill()


@pytest.mark.parametrize(
    ("offset", "first", "said"),
    [
        ("1", "오프셋: 1", ""),
        ("0", "오프셋: 0", ""),
        ("99", "오프셋: 2", "has offsets 0 to 1: starting at 2."),
    ],
)
def test_seek_starts_at_an_offset(pipeline: Pipeline, topic: str, offset: str, first: str, said: str) -> None:
    pipeline.produce(topic, [sent(LOGIN), sent(PURCHASE)])
    group = ("--group", pipeline.prefix + "other")
    consumer = pipeline.start(CONSUMER, "--seek", offset, *group)
    consumer.wait_for("Ctrl-C to stop")
    pipeline.produce(topic, [sent(LOGIN)])
    shows(consumer, "오프셋: 2")
    assert first in consumer.stdout.splitlines()[0]
    assert said in consumer.stderr


def test_of_two_consumers_in_a_group_one_reads(pipeline: Pipeline, topic: str) -> None:
    consumers = [pipeline.start(CONSUMER) for _ in range(2)]
    for consumer in consumers:
        consumer.wait_for("Ctrl-C to stop")
    pipeline.produce(topic, [sent(LOGIN)])
    wait_until(lambda: any(consumer.stdout for consumer in consumers), "one of them reads")
    [reader] = [consumer for consumer in consumers if consumer.stdout]
    [other] = [consumer for consumer in consumers if consumer is not reader]
    assert other.stdout == ""
    assert reader.stop() == 0
    pipeline.produce(topic, [sent(PURCHASE)])
    shows(other, PURCHASE_LINES)
