"""Who may do what on a secured cluster: users with passwords (SCRAM), and access lists."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from pipeline.cli.process import PipelineError


class Right(NamedTuple):
    """A right of a user, as kafka-acls has it.

    Attributes:
        operation: such as READ; READ and WRITE include DESCRIBE.
        resource: what it is for.
        name: of the resource.
        prefixed: whether it is for all resources whose name begins so.
    """

    operation: Literal["READ", "WRITE", "DESCRIBE_CONFIGS"]
    resource: Literal["TOPIC", "GROUP", "TRANSACTIONAL_ID"]
    name: str
    prefixed: bool = False


def grant(admin: KafkaAdminClient, rights: Mapping[str, Iterable[Right]]) -> None:
    """Add to the access lists what is missing there.

    Args:
        admin: a connected client of a user that may do that.
        rights: the rights of each user.

    Raises:
        PipelineError: the broker refuses.
        KafkaError: it is unreachable.
    """
    lists = [_access_list(user, right) for user, of_user in rights.items() for right in of_user]
    for refused, error in admin.create_acls(lists)["failed"]:
        raise PipelineError(f"Kafka refused to add {refused} to its access lists: {error}")


def set_passwords(admin: KafkaAdminClient, passwords: Mapping[str, str]) -> None:
    """Create users, or change their passwords. The password itself is not sent (SCRAM-SHA-512).

    Args:
        admin: a connected client of a user that may do that.
        passwords: the password of each user.

    Raises:
        PipelineError: the broker refuses.
        KafkaError: it is unreachable.
    """
    changes = [
        UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, password)
        for user, password in passwords.items()
    ]
    for user, refusal in admin.alter_user_scram_credentials(changes).items():
        if refusal:
            raise PipelineError(f"Kafka refused to set the password of {user}: {refusal}")


def _access_list(user: str, right: Right) -> ACL:
    kind = ACLResourcePatternType.PREFIXED if right.prefixed else ACLResourcePatternType.LITERAL
    return ACL(
        f"User:{user}",
        "*",
        ACLOperation[right.operation],
        ACLPermissionType.ALLOW,
        ResourcePattern(ResourceType[right.resource], right.name, kind),
    )
