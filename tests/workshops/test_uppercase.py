"""Workshop 003."""

import pytest

from tests.integration.pipelines import Pipeline, Running, Sent, wait_until

PART_1, PART_2, PART_3 = (
    f"workshops/uppercase/{name}.py" for name in ("part1_produce", "part2_transform", "part3_consume")
)
WORDS = ("hello", "world", "kafka", "streaming", "data")
TRANSFORMED = [f"Transformed and Sent: {word.upper()}" for word in WORDS]
CONSUMED = [f"Consumed from output-topic: {word.upper()}" for word in WORDS]


def prints(running: Running, lines: list[str]) -> None:
    wait_until(lambda: len(running.stdout.splitlines()) >= len(lines), f"prints {lines}", 20)
    assert running.stdout.splitlines() == lines


def part_1(pipeline: Pipeline, deleted: bool) -> None:
    done = pipeline.run(PART_1)
    assert done.returncode == 0, done.stderr
    deletions = [f"기존 토픽 '{topic}' 삭제 완료" for topic in ("input-topic", "output-topic")]
    assert done.stdout.replace(pipeline.prefix, "").splitlines() == [
        *(deletions if deleted else []),
        "새로운 토픽 'input-topic' 및 'output-topic' 생성 완료",
        *(f"Sent: {word}" for word in WORDS),
    ]


def test_one_after_another(pipeline: Pipeline) -> None:
    for deleted in (False, True):  # the second time all are sent and read again
        part_1(pipeline, deleted)
        for script, lines in ((PART_2, TRANSFORMED), (PART_3, CONSUMED)):
            running = pipeline.start(script)
            prints(running, lines)
            assert running.stop() == 0
    described = pipeline.tool("kafka-topics", "--describe", "--topic", pipeline.prefix + "input-topic").stdout
    assert "PartitionCount: 1" in described
    keys = {record.key for record in pipeline.read(pipeline.prefix + "output-topic")}
    assert keys == {b"words"}


@pytest.mark.parametrize("rounds", [4])
def test_part_1_again_and_again_while_the_others_run(pipeline: Pipeline, rounds: int) -> None:
    part3, part2 = pipeline.start(PART_3), pipeline.start(PART_2)
    part3.wait_for("Ctrl-C to stop")
    part2.wait_for("Ctrl-C to stop")
    for number in range(1, rounds + 1):
        part_1(pipeline, deleted=True)
        prints(part2, TRANSFORMED * number)
        prints(part3, CONSUMED * number)
    for running in (part2, part3):
        assert running.stop() == 0
        assert len(running.stderr.splitlines()) == 2, running.stderr


def test_what_is_no_word_is_named_and_passed_over(pipeline: Pipeline) -> None:
    part3, part2 = pipeline.start(PART_3), pipeline.start(PART_2)
    part2.wait_for("Ctrl-C to stop")
    part3.wait_for("Ctrl-C to stop")
    source, target = pipeline.prefix + "input-topic", pipeline.prefix + "output-topic"
    pipeline.produce(target, [Sent(b"\xff"), Sent(None)])
    pipeline.produce(source, [Sent(b"\xff"), Sent(None), Sent("한국 straße\x1b[2J".encode())])
    prints(part3, [r"Consumed from output-topic: 한국 STRASSE\x1b[2J"])
    for running, topic in ((part2, source), (part3, target)):
        for offset in (0, 1):
            assert f"Not a word: {topic}[0]@{offset}:" in running.stderr


def test_after_a_restart_part_2_continues_where_it_stopped(pipeline: Pipeline) -> None:
    part_1(pipeline, deleted=False)
    first = pipeline.start(PART_2)
    prints(first, TRANSFORMED)
    assert first.stop() == 0
    second = pipeline.start(PART_2)
    second.wait_for("Ctrl-C to stop")
    pipeline.produce(pipeline.prefix + "input-topic", [Sent(b"more")])
    prints(second, ["Transformed and Sent: MORE"])
