"""local/secure_files.py: certificates and passwords are made once, renewed in time, and private."""

import stat
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipeline.cli.process import PipelineError
from pipeline.local.certificates import issue, read_authority
from pipeline.local.rights import USERS
from pipeline.local.secure_files import SecureFiles

SERVERS = "localhost:9092"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "바탕화면" / "카프카, 실습 #1 = \\" / "secure-cluster-of-1-at-9092"


@pytest.fixture
def files(folder: Path) -> SecureFiles:
    made = SecureFiles(folder, SERVERS, ["localhost"])
    made.make()
    return made


def contents(folder: Path) -> dict[Path, str]:
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_only_the_owner_may_read_them(files: SecureFiles, folder: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    modes.pop("ca.pem")  # no secret
    assert {modes.pop(folder.name), modes.pop("clients")} == {0o700}
    assert modes.keys() == {"authority.pem", "broker.pem", *(f"{user}.properties" for user in USERS)}
    assert set(modes.values()) == {0o600}


def test_each_user_has_a_password_of_its_own_and_keeps_it(files: SecureFiles, folder: Path) -> None:
    passwords = files.passwords()
    assert len(set(passwords.values())) == len(USERS)
    before = contents(folder)
    files.make()
    assert contents(folder) == before

    files.client("dlq").unlink()
    files.make()
    changed = {user for user, password in files.passwords().items() if password != passwords[user]}
    assert changed == {"dlq"}


def test_what_a_person_wrote_into_a_file_stays(files: SecureFiles) -> None:
    file = files.client("dlq")
    edited = file.read_text().replace('password="', 'password="a \\\\"b\\\\" c-')
    file.write_text(f"{edited}client.id=replays\n")
    password = files.passwords()["dlq"]
    assert password.startswith('a "b" c-')
    files.make()
    assert files.passwords()["dlq"] == password
    assert files.cluster("dlq").client_id == "replays"


def test_the_folder_is_moved(files: SecureFiles, folder: Path, tmp_path: Path) -> None:
    passwords = files.passwords()
    moved = folder.rename(tmp_path / "moved")
    files = SecureFiles(moved, SERVERS, ["localhost"])
    files.make()
    assert files.passwords() == passwords
    cluster = files.cluster("admin")
    assert (cluster.servers, cluster.security.ca_file) == (SERVERS, str(moved / "ca.pem"))


def test_a_client_file_is_latin_letters_alone_as_java_reads_no_others(files: SecureFiles) -> None:
    assert files.client("admin").read_bytes().isascii()


@pytest.mark.parametrize(("days", "renewed"), [(29, True), (31, False)])
def test_the_brokers_certificate_is_renewed_before_it_expires(
    files: SecureFiles, folder: Path, days: int, renewed: bool
) -> None:
    authority = read_authority((folder / "authority.pem").read_text())
    until = datetime.now(timezone.utc) + timedelta(days=days)
    old = issue(authority, "broker", ["localhost"], valid_until=until)
    files.broker.write_text(old)
    files.make()
    assert (files.broker.read_text() != old) == renewed


def test_a_new_authority_issues_a_new_certificate(files: SecureFiles, folder: Path) -> None:
    before = contents(folder)
    (folder / "authority.pem").unlink()
    files.make()
    changed = {str(path) for path, text in contents(folder).items() if text != before[path]}
    assert changed == {"authority.pem", "ca.pem", "broker.pem"}


def test_a_damaged_file_is_named(files: SecureFiles, folder: Path) -> None:
    files.client("dlq").write_text("nonsense=1\n")
    files.make()
    with pytest.raises(PipelineError, match=r"'nonsense' is not known.*Delete .*dlq\.properties"):
        files.passwords()
    (folder / "authority.pem").write_text("nonsense")
    with pytest.raises(PipelineError, match=r"authority\.pem holds no certificate"):
        files.make()


def test_the_package_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pipeline.local.certificates")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(PipelineError, match=r"^cryptography is not installed.*requirements/secure\.txt"):
        SecureFiles(folder, SERVERS, ["localhost"]).make()
